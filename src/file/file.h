#pragma once

#include "file/file_errors.h"
#include "file/file_source.h"
