#ifndef DMSAE_ZLIB_SHIM_H
#define DMSAE_ZLIB_SHIM_H

#include <zlib.h>

#endif
