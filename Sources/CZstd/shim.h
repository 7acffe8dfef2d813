#ifndef DMSAE_ZSTD_SHIM_H
#define DMSAE_ZSTD_SHIM_H

#include <zstd.h>

#endif
