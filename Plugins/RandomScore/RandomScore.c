#include "dmsae/dmsae.h"
int dmsae_placeholder;
