#include <coterie/checkpoint.h>
#include <coterie/memory.h>
#include <coterie/trained.h>

#include <string.h>

/* The recipe inside the checkpoint, with the overrides; one expert group, whatever it was trained
 * with. */
static cot_status load_recipe(const cot_comm *world, const char *checkpoint, size_t count,
                              const cot_override *overrides, cot_trained *trained)
{
    cot_checkpoint_header header = {0};
    COT_TRY(cot_comm_agree(world, world->rank == 0 ? cot_checkpoint_read_header(checkpoint, &header)
                                                   : COT_OK));
    uint64_t place[] = {header.step, header.epoch};
    COT_MPI(MPI_Bcast(place, 2, MPI_UINT64_T, 0, world->world));
    trained->step = place[0];
    trained->epoch = place[1];
    char *text = cot_comm_broadcast_text(world, header.recipe);
    cot_checkpoint_header_free(&header);
    cot_override *all = cot_alloc(count + 1, sizeof *all);
    if (count > 0) memcpy(all, overrides, count * sizeof *all);
    all[count] = "parallel.expert_replicas=1";
    cot_status status = cot_recipe_parse(text, checkpoint, count + 1, all, &trained->recipe);
    /* Evaluations go by slots in any case: nothing is to be measured for a choice. */
    if (status == COT_OK && !trained->recipe->parallel.reproducible &&
        trained->recipe->parallel.exchange == COT_PLAN_AUTO)
        trained->recipe->parallel.exchange = COT_PLAN_SLOTS;
    cot_free(all);
    cot_free(text);
    return cot_comm_agree(world, status);
}

cot_status cot_trained_load(const cot_comm *world, const char *path, size_t override_count,
                            const cot_override *overrides, cot_trained **trained_out)
{
    cot_trained *trained = cot_alloc(1, sizeof *trained);
    char *checkpoint = cot_checkpoint_follow(world, path);
    cot_status status = load_recipe(world, checkpoint, override_count, overrides, trained);
    if (status == COT_OK)
        status = cot_experiment_create(world, trained->recipe, &trained->experiment);
    if (status == COT_OK) {
        cot_training_state state = {.params = trained->experiment->params};
        status = cot_checkpoint_read(world, checkpoint, true, &state);
    }
    cot_free(checkpoint);
    if (status == COT_OK)
        *trained_out = trained;
    else
        cot_trained_destroy(&trained);
    return status;
}

void cot_trained_destroy(cot_trained **trained)
{
    if (*trained == NULL) return;
    cot_experiment_destroy(&(*trained)->experiment);
    cot_recipe_destroy(&(*trained)->recipe);
    cot_free(*trained);
    *trained = NULL;
}
