// Facade of sys/: the OS seam.
#pragma once

#include "sys/byte_store.h"
#include "sys/cpu_follower.h"
#include "sys/data_file.h"
#include "sys/machine.h"
#include "sys/object_store.h"
#include "sys/pool_name.h"
#include "sys/probe.h"
#include "sys/streams.h"
#include "sys/video_device.h"
#include "sys/woken_here.h"
