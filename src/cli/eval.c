#include "cli/cli.h"
#include "cli/eval_report.h"

#include <coterie/expert_order.h>
#include <coterie/memory.h>
#include <coterie/predictions.h>
#include <coterie/trained.h>

#include <string.h>

/* What the options fill in. */
typedef struct input {
    cot_cli_input common; /* of a checkpoint */
    const char *predictions;
    size_t keep; /* 0: not given */
    double mass; /* 0: not given */
    cot_order order;
    bool has_order, has_seed, compare;
    size_t seed;
    cot_split split;
} input;

enum {
    KEY_KEEP = COT_KEY_OWN,
    KEY_MASS,
    KEY_SELECT,
    KEY_SEED,
    KEY_COMPARE,
    KEY_SPLIT,
    KEY_PREDICTIONS
};

static const struct argp_option options[] = {
    {"split", KEY_SPLIT, "test|validation|train", 0, "Which samples (default: test)", 0},
    {"keep", KEY_KEEP, "K", 0,
     "Keep K experts for each sample; only their slots are sent and computed (Algorithm 2 of "
     "arXiv 2409.00879)",
     0},
    {"keep-mass", KEY_MASS, "M", 0,
     "Keep, for each sample, the fewest experts that hold the share M of its combine weights", 0},
    {"select", KEY_SELECT, "combine|dispatch|random", 0,
     "Which K experts (default: combine, the largest combine weights, Algorithm 1)", 0},
    {"seed", KEY_SEED, "N", 0, "Of --select random (default: 0)", 0},
    {"compare", KEY_COMPARE, NULL, 0,
     "Evaluate with all experts as well, and report both side by side", 0},
    {"predictions", KEY_PREDICTIONS, "FILE", 0,
     "Write logits, labels and kept experts by sample to an HDF5 file", 0},
    {"set", COT_KEY_SET, "KEY=VALUE", 0, cot_help_set_stored, 0},
    {"format", COT_KEY_FORMAT, "text|json", 0, cot_help_format, 0},
    {0}};

static cot_status parse_keep(const char *text, size_t *keep_out)
{
    COT_TRY(cot_cli_parse_count("--keep", text, keep_out));
    return *keep_out > 0 ? COT_OK
                         : cot_fail(COT_E_USAGE, "--keep: at least one expert must be kept");
}

static cot_status parse_mass(const char *text, double *mass_out)
{
    COT_TRY(cot_cli_parse_number("--keep-mass", text, mass_out));
    return *mass_out > 0 && *mass_out <= 1
               ? COT_OK
               : cot_fail(COT_E_USAGE, "--keep-mass: '%s' is not a share above 0, at most 1", text);
}

static cot_status parse_select(const char *text, input *in)
{
    in->has_order = true;
    if (strcmp(text, cot_order_name(COT_ORDER_COMMON)) == 0)
        return cot_fail(COT_E_USAGE, "--select: common can choose only after a pass over the whole "
                                     "split; 'coterie specialize --select common' makes one");
    for (int order = 0; order < COT_ORDERS; order++) {
        in->order = (cot_order)order;
        if (strcmp(text, cot_order_name(in->order)) == 0 && cot_order_needs_routing_only(in->order))
            return COT_OK;
    }
    return cot_fail(COT_E_USAGE,
                    "--select: '%s' is none of combine, dispatch and random, which need no expert "
                    "to be computed; 'coterie specialize' studies others",
                    text);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    input *in = state->input;
    switch (key) {
    case KEY_PREDICTIONS:
        in->predictions = argument;
        return 0;
    case KEY_KEEP:
        return cot_cli_argp_error(parse_keep(argument, &in->keep));
    case KEY_MASS:
        return cot_cli_argp_error(parse_mass(argument, &in->mass));
    case KEY_SELECT:
        return cot_cli_argp_error(parse_select(argument, in));
    case KEY_SEED:
        in->has_seed = true;
        return cot_cli_argp_error(cot_cli_parse_count("--seed", argument, &in->seed));
    case KEY_COMPARE:
        in->compare = true;
        return 0;
    case KEY_SPLIT:
        return cot_cli_argp_error(cot_cli_parse_split(argument, &in->split));
    default:
        return cot_cli_parse_input(key, argument, &in->common);
    }
}

static const struct argp argp = {
    options,
    parse_option,
    "CHECKPOINT",
    "Loss and accuracy of a checkpoint's model, on all or on part of its experts, on any number of "
    "ranks."
    "\vThe model and the data are those of the recipe in the checkpoint.\n\n"
    "  mpirun -n 2 coterie eval runs/quickstart/latest.h5\n"
    "  coterie eval runs/mnist/latest.h5 --keep 4 --compare\n"
    "  coterie eval runs/mnist/latest.h5 --keep-mass 0.9 --format json",
    NULL,
    NULL,
    NULL};

/* ---- the work ---- */

/* What the options mean together. */
static cot_status check_options(const input *in)
{
    if (in->common.file == NULL)
        return cot_fail(COT_E_USAGE, "eval: no checkpoint given; see 'coterie help eval'");
    if (in->keep > 0 && in->mass > 0)
        return cot_fail(COT_E_USAGE, "eval: --keep and --keep-mass exclude each other");
    if (in->has_order && in->keep == 0)
        return cot_fail(COT_E_USAGE, "eval: --select says which experts --keep K keeps; give it");
    if (in->has_seed && in->order != COT_ORDER_RANDOM)
        return cot_fail(COT_E_USAGE, "eval: --seed belongs to --select random");
    if (in->compare && in->keep == 0 && in->mass <= 0)
        return cot_fail(COT_E_USAGE, "eval: --compare compares --keep K or --keep-mass M with all "
                                     "experts; give one of them");
    return COT_OK;
}

static cot_status make_selector(const input *in, const cot_experiment *experiment,
                                cot_selector **selector_out)
{
    const size_t experts = cot_model_shape(experiment->model)->E;
    if (in->keep > experts)
        return cot_fail(COT_E_USAGE, "--keep: %zu is more than the model's %zu experts", in->keep,
                        experts);
    if (in->mass > 0)
        *selector_out = cot_selector_mass(experts, in->mass);
    else if (in->keep > 0)
        *selector_out = cot_selector_order(in->order, in->seed, experts, in->keep);
    return COT_OK;
}

static const char *selector_name(const input *in)
{
    if (in->mass > 0) return "mass";
    return in->keep > 0 ? cot_order_name(in->order) : NULL;
}

static cot_status evaluate(cot_experiment *experiment, const input *in, cot_selector *selector,
                           cot_evaluation *evaluation)
{
    if (in->predictions == NULL)
        return cot_evaluate(experiment, in->split, selector, NULL, evaluation);
    cot_predictions *predictions = NULL;
    COT_TRY(cot_predictions_create(experiment, in->split, in->predictions, &predictions));
    cot_observer observer = cot_predictions_observer(predictions);
    cot_status status = cot_evaluate(experiment, in->split, selector, &observer, evaluation);
    cot_status finished = cot_predictions_finish(&predictions, status == COT_OK);
    if (status == COT_OK && finished != COT_OK) cot_evaluation_free(evaluation);
    return status != COT_OK ? status : finished;
}

/* With all experts, behind one batch that takes the cost of memory touched for the first time. */
static cot_status evaluate_all(cot_experiment *experiment, const input *in,
                               cot_evaluation *evaluation)
{
    size_t samples = cot_dataset_info_of(experiment->dataset)->samples[in->split];
    size_t most = experiment->batching.max_batch;
    cot_batch batch = {.split = in->split, .samples = samples < most ? samples : most};
    if (samples > 0) (void)cot_experiment_forward(experiment, &batch, NULL, NULL);
    return cot_evaluate(experiment, in->split, NULL, NULL, evaluation);
}

static cot_status evaluate_and_report(const input *in, cot_experiment *experiment,
                                      cot_selector *selector)
{
    cot_evaluation part = {0};
    cot_evaluation all = {0};
    cot_status status = in->compare ? evaluate_all(experiment, in, &all) : COT_OK;
    if (status == COT_OK) status = evaluate(experiment, in, selector, &part);
    if (status == COT_OK && experiment->comm->rank == 0) {
        cot_eval_report report = {.checkpoint = in->common.file,
                                  .split = in->split,
                                  .selector = selector_name(in),
                                  .experts = cot_model_shape(experiment->model)->E,
                                  .part = &part,
                                  .all = in->compare ? &all : NULL};
        (in->common.json ? cot_eval_print_json : cot_eval_print_text)(&report);
    }
    cot_evaluation_free(&all);
    cot_evaluation_free(&part);
    return status;
}

static cot_status eval(const cot_comm *world, const input *in)
{
    cot_trained *trained = NULL;
    cot_selector *selector = NULL;
    COT_TRY(check_options(in));
    COT_TRY(cot_trained_load(world, in->common.file, in->common.override_count,
                             in->common.overrides, &trained));
    cot_status status = make_selector(in, trained->experiment, &selector);
    if (status == COT_OK) status = evaluate_and_report(in, trained->experiment, selector);
    cot_selector_destroy(&selector);
    cot_trained_destroy(&trained);
    return status;
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    input in = {.common.overrides = cot_alloc((size_t)argc, sizeof(char *)),
                .split = COT_SPLIT_TEST};
    cot_status status = cot_cli_parse(&cot_command_eval, argc, argv, &in);
    if (status == COT_OK) status = eval(world, &in);
    cot_free(in.common.overrides);
    return status;
}

const cot_command cot_command_eval = {"eval", "loss, accuracy and time of a checkpoint's model",
                                      &argp, run};
