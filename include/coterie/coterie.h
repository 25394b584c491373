/** Everything that the library offers. */
#ifndef COTERIE_COTERIE_H
#define COTERIE_COTERIE_H

#include <coterie/activation.h>
#include <coterie/blas.h>
#include <coterie/checkpoint.h>
#include <coterie/clock.h>
#include <coterie/comm.h>
#include <coterie/dataset.h>
#include <coterie/exchange.h>
#include <coterie/expert_bank.h>
#include <coterie/log.h>
#include <coterie/loss.h>
#include <coterie/memory.h>
#include <coterie/model.h>
#include <coterie/normalize.h>
#include <coterie/optimizer.h>
#include <coterie/ordered_sum.h>
#include <coterie/param.h>
#include <coterie/real.h>
#include <coterie/recipe.h>
#include <coterie/rng.h>
#include <coterie/router.h>
#include <coterie/sampler.h>
#include <coterie/schedule.h>
#include <coterie/shard.h>
#include <coterie/slots.h>
#include <coterie/softmax.h>
#include <coterie/status.h>
#include <coterie/tree.h>
#include <coterie/vector.h>
#include <coterie/version.h>

#endif
