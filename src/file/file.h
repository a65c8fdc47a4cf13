// Facade of file/: files as the source of regions' pages, and the journal of their commits.
#pragma once

#include "file/file_errors.h"
#include "file/file_source.h"
#include "file/journal.h"
#include "file/journal_reader.h"
