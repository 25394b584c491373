#include "support/subsets.h"

#include <math.h>
#include <string.h>

enum {
    E = DRAWN_EXPERTS,
    P = DRAWN_SLOTS,
    S = DRAWN_ALL_SLOTS,
    T = DRAWN_TOKENS,
    C = DRAWN_CLASSES
};

outcome outcome_of(const drawn_sample *sample, unsigned set)
{
    const cot_sample_view *view = &sample->view;
    outcome result = {0};
    double sum = 0;
    for (size_t c = 0; c < view->outputs; c++) {
        double output = (double)sample->base[c];
        for (size_t e = 0; e < E; e++)
            if (set >> e & 1) output += (double)sample->effects[e * view->outputs + c];
        result.outputs[c] = (cot_real)output;
        sum += exp((double)result.outputs[c]);
    }
    if (view->outputs == 1) {
        result.loss = pow((double)result.outputs[0] - (double)view->target.value, 2);
        return result;
    }
    result.right = true;
    for (size_t c = 0; c < C; c++) {
        double q = 0.1 / C + (c == (size_t)view->target.label ? 0.9 : 0);
        result.loss -= q * ((double)result.outputs[c] - log(sum));
        if (result.outputs[c] > result.outputs[view->target.label]) result.right = false;
    }
    return result;
}

/* The `keep` experts of largest score. */
static unsigned best_of(const double *scores, size_t keep)
{
    unsigned set = 0;
    for (size_t e = 0; e < E; e++) {
        size_t better = 0;
        for (size_t other = 0; other < E; other++) better += scores[other] > scores[e];
        if (better < keep) set |= 1u << e;
    }
    return set;
}

static unsigned greedy_of(const drawn_sample *sample, size_t keep)
{
    unsigned set = 0;
    for (size_t k = 0; k < keep; k++) {
        unsigned best = 0;
        for (size_t e = 0; e < E; e++) {
            unsigned with = set | 1u << e;
            if (with == set) continue;
            if (best == 0 || outcome_of(sample, with).loss < outcome_of(sample, best).loss)
                best = with;
        }
        set = best;
    }
    return set;
}

static unsigned random_of(const drawn_sample *sample, uint64_t seed, size_t keep)
{
    size_t experts[E];
    unsigned set = 0;
    cot_orderer *orderer = cot_orderer_create(COT_ORDER_RANDOM, seed, E, C);
    cot_orderer_rank(orderer, &sample->view, experts);
    cot_orderer_destroy(&orderer);
    for (size_t k = 0; k < keep; k++) set |= 1u << experts[k];
    return set;
}

static void find_masses(const drawn_sample *sample, double *mass)
{
    memset(mass, 0, E * sizeof *mass);
    for (size_t i = 0; i < T * S; i++) mass[i % S / P] += (double)sample->combine[i] / T;
}

void mean_masses(size_t layer, double *mass)
{
    drawn_sample sample;
    double own[E];
    memset(mass, 0, E * sizeof *mass);
    for (size_t i = 0; i < DRAWN_SAMPLES; i++) {
        draw_sample(i, layer, true, &sample);
        find_masses(&sample, own);
        for (size_t e = 0; e < E; e++) mass[e] += own[e] / DRAWN_SAMPLES;
    }
}

unsigned subset_of(const drawn_sample *sample, cot_order order, uint64_t seed, size_t keep)
{
    double scores[E] = {0};
    if (order == COT_ORDER_GREEDY) return greedy_of(sample, keep);
    if (order == COT_ORDER_RANDOM) return random_of(sample, seed, keep);
    if (order == COT_ORDER_COMBINE) find_masses(sample, scores);
    if (order == COT_ORDER_COMMON) mean_masses(sample->view.routing.layer, scores);
    for (size_t s = 0; s < S; s++) {
        double dispatch = 0;
        double squares = 0;
        for (size_t t = 0; t < T; t++) {
            dispatch += pow((double)sample->dispatch[t * S + s], 2);
            squares += pow((double)sample->combine[t * S + s], 2);
        }
        if (order == COT_ORDER_DISPATCH) scores[s / P] += dispatch;
        if (order == COT_ORDER_CONTRIBUTION)
            scores[s / P] += sqrt(squares) * (double)sample->norms[s];
    }
    return best_of(scores, keep);
}

unsigned subset_by_mass(const drawn_sample *sample, double share)
{
    double mass[E];
    find_masses(sample, mass);
    for (size_t keep = 1; keep < E; keep++) {
        unsigned set = best_of(mass, keep);
        double inside = 0;
        double all = 0;
        for (size_t e = 0; e < E; e++) {
            all += mass[e];
            inside += set >> e & 1 ? mass[e] : 0;
        }
        if (inside >= share * all) return set;
    }
    return SUBSETS - 1;
}
