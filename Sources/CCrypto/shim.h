#ifndef DMSAE_CRYPTO_SHIM_H
#define DMSAE_CRYPTO_SHIM_H

#include <openssl/evp.h>

#endif
