// Facade of image/: memory images, written and read. docs/image-format.md has the format byte by
// byte; include/holdfast/image.h is what programs see.
#pragma once

#include "image/chain.h"
#include "image/far_bytes.h"
#include "image/format.h"
#include "image/image_source.h"
#include "image/reader.h"
#include "image/run_source.h"
#include "image/writer.h"
