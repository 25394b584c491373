#include "run/origin.h"

#include <coterie/clock.h>
#include <coterie/memory.h>
#include <coterie/version.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

cot_origin cot_origin_take(const cot_comm *comm)
{
    char host[256] = "";
    char written[COT_TIMESTAMP_SIZE];
    const char *job = getenv("SLURM_JOB_ID");
    gethostname(host, sizeof host - 1);
    cot_timestamp(written);
    return (cot_origin){(uint64_t)comm->size, cot_comm_broadcast_text(comm, host),
                        cot_comm_broadcast_text(comm, written),
                        cot_comm_broadcast_text(comm, job != NULL ? job : "")};
}

void cot_origin_free(cot_origin *origin)
{
    cot_free(origin->host);
    cot_free(origin->written);
    cot_free(origin->slurm_job_id);
    *origin = (cot_origin){0};
}

static cot_status write_numbers(cot_h5_file *file, const cot_origin *origin, uint64_t version,
                                const cot_checkpoint_info *info)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"format_version", version},
                   {"seed", info->seed},
                   {"ranks", origin->ranks},
                   {"data_checksum", info->data_checksum},
                   {"blas_threads", info->blas_threads},
                   {"grains", info->grains},
                   {"expert_replicas", info->expert_replicas}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        COT_TRY(cot_h5_set_uint(file, "/", numbers[i].name, numbers[i].value));
    return COT_OK;
}

cot_status cot_origin_write(cot_h5_file *file, const cot_origin *origin, const char *format,
                            uint64_t version, const cot_checkpoint_info *info)
{
    const struct {
        const char *name, *value;
    } texts[] = {{"format", format},
                 {"recipe", info->recipe},
                 {"coterie_version", cot_version()},
                 {"build", cot_build()},
                 {"host", origin->host},
                 {"started", info->started},
                 {"written", origin->written},
                 {"blas_core", info->blas_core},
                 {"exchange", info->exchange}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        COT_TRY(cot_h5_set_text(file, "/", texts[i].name, texts[i].value));
    COT_TRY(write_numbers(file, origin, version, info));
    if (origin->slurm_job_id[0] == '\0') return COT_OK;
    return cot_h5_set_text(file, "/", "slurm_job_id", origin->slurm_job_id);
}

cot_status cot_origin_check(const cot_h5_file *file, const char *format, uint64_t version)
{
    char *found = NULL;
    uint64_t found_version = 0;
    COT_TRY(cot_h5_get_text(file, "/", "format", &found));
    cot_status status = COT_OK;
    if (strcmp(found, format) != 0)
        status = cot_fail(COT_E_DATA, "%s: its format is '%s', not '%s'", cot_h5_path(file), found,
                          format);
    cot_free(found);
    if (status != COT_OK) return status;
    COT_TRY(cot_h5_get_uint(file, "/", "format_version", &found_version));
    if (found_version != version)
        return cot_fail(
            COT_E_DATA, "%s: its format version is %llu; this program reads version %llu",
            cot_h5_path(file), (unsigned long long)found_version, (unsigned long long)version);
    return COT_OK;
}
