#ifndef COTERIE_EXPERT_BANK_H
#define COTERIE_EXPERT_BANK_H
#include <coterie/activation.h>
#endif
