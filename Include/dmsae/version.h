/* version.h: the versions of the program that these headers came with and of the ABI that they describe. Neither is
 * written anywhere else: the program, its packages and the wheel read this file. */
#ifndef DMSAE_VERSION_H
#define DMSAE_VERSION_H

#define DMSAE_VERSION "0.1.0"
#define DMSAE_ABI_MAJOR 0u
#define DMSAE_ABI_MINOR 3u

#endif
