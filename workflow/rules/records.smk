# Recordings: cut into shards, each shard imported, measured, classified and encoded, then joined.

if IMPORTS:

    checkpoint cut:
        output:
            touch(DONE / "cut"),
        params:
            sections=[section(name) for name in BY_RECORD],
            records=config["records_per_shard"],
        log:
            LOGS / "cut.log",
        resources:
            mem_mb=4000,
            runtime=60,
        shell:
            "{LEADLIGHT} shards cut {TOLD} --records {params.records} --overwrite > {log} 2>&1"

    def shards_done(wildcards):
        checkpoints.cut.get()
        return [DONE / f"shard-{folder.name}" for folder in read_plan(FOLDER).folders]

    rule shard:
        input:
            DONE / "cut",
        output:
            touch(DONE / "shard-{shard}"),
        params:
            sections=[section(name) for name in BY_RECORD],
        log:
            LOGS / "shard-{shard}.log",
        threads: config["threads"]["shard"]
        resources:
            mem_mb=mb("shard", threads=config["threads"]["shard"]),
            runtime=lambda wildcards, attempt: int(
                (10 + 0.006 * config["records_per_shard"] / config["threads"]["shard"])
                * config["time_scale"].get("shard", 1.0)
                * attempt
            ),
        shell:
            "export OMP_NUM_THREADS={threads} OPENBLAS_NUM_THREADS=1; {LEADLIGHT} shards run {TOLD}"
            " --shard {wildcards.shard} --workers {threads} > {log} 2>&1"

    rule join:
        input:
            shards_done,
        output:
            touch(DONE / "join"),
        log:
            LOGS / "join.log",
        threads: config["threads"]["join"]
        resources:
            mem_mb=mb("join", threads=config["threads"]["join"], per_person=0.002),
            runtime=minutes("join", per_person_s=0.01, threads=config["threads"]["join"]),
        shell:
            "{LEADLIGHT} shards join {TOLD} --workers {threads} > {log} 2>&1"


def records_done(wildcards=None):
    """The mark after which all recordings have been looked at."""
    if IMPORTS:
        return [DONE / "join"]
    own = [name for name in ASKED if name in BY_RECORD]
    return [DONE / f"stage-{own[-1]}"] if own else []
