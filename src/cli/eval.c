#include "cli/cli.h"

#include <coterie/checkpoint.h>
#include <coterie/log.h>
#include <coterie/memory.h>
#include <coterie/predictions.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What the options fill in. */
typedef struct input {
    const char *checkpoint, *predictions;
    size_t override_count;
    const char **overrides; /* room for as many as there are arguments, and one more */
    size_t keep;            /* 0: all experts */
    cot_split split;
    bool json;
} input;

/* Beyond any character: these options have long names only. */
enum { KEY_SET = 256, KEY_KEEP, KEY_SPLIT, KEY_PREDICTIONS, KEY_FORMAT };

static const struct argp_option options[] = {
    {"split", KEY_SPLIT, "test|validation|train", 0, "Which samples (default: test)", 0},
    {"keep", KEY_KEEP, "K", 0,
     "Keep the K experts with the largest combine weights, for each sample (Algorithm 1 of arXiv "
     "2409.00879)",
     0},
    {"predictions", KEY_PREDICTIONS, "FILE", 0,
     "Write logits, labels and kept experts by sample to an HDF5 file", 0},
    {"set", KEY_SET, "KEY=VALUE", 0,
     "Override one key of the checkpoint's recipe, such as data.path", 0},
    {"format", KEY_FORMAT, "text|json", 0, "How to print the result (default: text)", 0},
    {0}};

static cot_status parse_split(const char *text, cot_split *split_out)
{
    for (int split = 0; split < COT_SPLITS; split++) {
        if (strcmp(text, cot_split_name((cot_split)split)) != 0) continue;
        *split_out = (cot_split)split;
        return COT_OK;
    }
    return cot_fail(COT_E_USAGE, "--split: '%s' is none of train, validation and test", text);
}

static cot_status parse_keep(const char *text, size_t *keep_out)
{
    COT_TRY(cot_cli_parse_count("--keep", text, keep_out));
    return *keep_out > 0 ? COT_OK
                         : cot_fail(COT_E_USAGE, "--keep: at least one expert must be kept");
}

static error_t failed(cot_status status)
{
    return status == COT_OK ? 0 : EINVAL;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    input *in = state->input;
    switch (key) {
    case KEY_SET:
        in->overrides[in->override_count++] = argument;
        return 0;
    case KEY_PREDICTIONS:
        in->predictions = argument;
        return 0;
    case KEY_KEEP:
        return failed(parse_keep(argument, &in->keep));
    case KEY_SPLIT:
        return failed(parse_split(argument, &in->split));
    case KEY_FORMAT:
        return failed(cot_cli_parse_format(argument, &in->json));
    case ARGP_KEY_ARG:
        if (in->checkpoint != NULL) return ARGP_ERR_UNKNOWN;
        in->checkpoint = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
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
    "  coterie eval runs/mnist/best.h5 --keep 4 --format json",
    NULL,
    NULL,
    NULL};

/* ---- the result ---- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *accuracy_by_class(const cot_evaluation *evaluation)
{
    if (evaluation->classes == 0) return json_null();
    json_t *array = json_array();
    for (size_t c = 0; c < evaluation->classes; c++)
        json_array_append_new(array, number((double)evaluation->class_correct[c] /
                                            (double)evaluation->class_samples[c]));
    return array;
}

static void print_json(const input *in, const cot_evaluation *evaluation, size_t experts,
                       size_t kept)
{
    cot_cli_print_json(json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "checkpoint",
                                 in->checkpoint, "split", cot_split_name(in->split), "samples",
                                 (json_int_t)evaluation->samples, "loss", number(evaluation->loss),
                                 "accuracy", number(evaluation->accuracy), "relative_error",
                                 number(evaluation->relative_error), "accuracy_by_class",
                                 accuracy_by_class(evaluation), "experts", (json_int_t)experts,
                                 "kept", (json_int_t)kept, "seconds", number(evaluation->seconds)));
}

static void print_text(const input *in, const cot_evaluation *evaluation, size_t experts,
                       size_t kept)
{
    const double percent = 100;
    printf("%s samples   %zu\n", cot_split_name(in->split), evaluation->samples);
    printf("experts kept   %zu of %zu\n", kept, experts);
    printf("loss           %.6f\n", evaluation->loss);
    if (evaluation->classes == 0) {
        printf("relative error %.6f\n", evaluation->relative_error);
    } else {
        printf("accuracy       %.2f%%\n", percent * evaluation->accuracy);
        for (size_t c = 0; c < evaluation->classes; c++) {
            double samples = (double)evaluation->class_samples[c];
            if (samples > 0)
                printf("  class %-3zu    %.2f%% of %.0f\n", c,
                       percent * (double)evaluation->class_correct[c] / samples, samples);
            else
                printf("  class %-3zu    no samples\n", c);
        }
    }
    printf("time           %.2f s\n", evaluation->seconds);
    fflush(stdout);
}

/* ---- the work ---- */

/* The recipe inside the checkpoint, with the overrides; one expert group, whatever it was trained
 * with. */
static cot_status load_recipe(const cot_comm *world, input *in, cot_recipe **recipe_out)
{
    cot_checkpoint_header header = {0};
    cot_status status =
        world->rank == 0 ? cot_checkpoint_read_header(in->checkpoint, &header) : COT_OK;
    status = cot_comm_agree(world, status);
    if (status != COT_OK) return status;
    char *text = cot_comm_broadcast_text(world, header.recipe);
    cot_checkpoint_header_free(&header);
    in->overrides[in->override_count++] = "parallel.expert_replicas=1";
    status = cot_recipe_parse(text, in->checkpoint, in->override_count, in->overrides, recipe_out);
    cot_free(text);
    return cot_comm_agree(world, status);
}

static cot_status make_selector(const input *in, const cot_experiment *experiment,
                                cot_selector **selector_out)
{
    const cot_moe_shape *shape = cot_model_shape(experiment->model);
    if (in->keep == 0) return COT_OK;
    if (in->keep > shape->E)
        return cot_fail(COT_E_USAGE, "--keep: %zu is more than the model's %zu experts", in->keep,
                        shape->E);
    *selector_out = cot_selector_combine(shape->E, in->keep);
    return COT_OK;
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

static cot_status evaluate_checkpoint(const input *in, cot_experiment *experiment)
{
    const cot_comm *comm = experiment->comm;
    cot_training_state state = {.params = experiment->params};
    cot_selector *selector = NULL;
    cot_evaluation evaluation = {0};
    COT_TRY(cot_checkpoint_read(comm, in->checkpoint, true, &state));
    COT_TRY(make_selector(in, experiment, &selector));
    cot_status status = evaluate(experiment, in, selector, &evaluation);
    if (status == COT_OK && comm->rank == 0) {
        size_t experts = cot_model_shape(experiment->model)->E;
        size_t kept = in->keep > 0 ? in->keep : experts;
        (in->json ? print_json : print_text)(in, &evaluation, experts, kept);
    }
    cot_evaluation_free(&evaluation);
    cot_selector_destroy(&selector);
    return status;
}

static cot_status eval(const cot_comm *world, input *in)
{
    if (in->checkpoint == NULL)
        return cot_fail(COT_E_USAGE, "eval: no checkpoint given; see 'coterie help eval'");
    cot_recipe *recipe = NULL;
    cot_experiment *experiment = NULL;
    COT_TRY(load_recipe(world, in, &recipe));
    cot_status status = cot_experiment_create(world, recipe, &experiment);
    if (status == COT_OK) status = evaluate_checkpoint(in, experiment);
    cot_experiment_destroy(&experiment);
    cot_recipe_destroy(&recipe);
    return status;
}

static cot_status run(const cot_comm *world, int argc, char **argv)
{
    input in = {.overrides = cot_alloc((size_t)argc + 1, sizeof(char *)), .split = COT_SPLIT_TEST};
    cot_status status = cot_cli_parse(&cot_command_eval, argc, argv, &in);
    if (status == COT_OK) status = eval(world, &in);
    cot_free(in.overrides);
    return status;
}

const cot_command cot_command_eval = {"eval", "loss and accuracy of a checkpoint", &argp, run};
