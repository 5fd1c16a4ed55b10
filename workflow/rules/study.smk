# Stages that see the whole study. One at a time: `leadlight run` refuses a second one on a study.


def before(wildcards):
    """What a stage follows."""
    at = ASKED.index(wildcards.stage)
    marks = [DONE / f"stage-{ASKED[at - 1]}"] if at else []
    if wildcards.stage not in BY_RECORD:
        marks += records_done()
    if wildcards.stage == "explain" and config["explain_parts"] > 1:
        marks += [DONE / f"explain-{part}" for part in range(config["explain_parts"])]
    if wildcards.stage in ("loci", "effect", "report"):
        marks += [DONE / f"collect-{name}" for name in SETS]
    return marks


def final_marks():
    """What is there when all that the study file asks for is done."""
    last = [DONE / f"stage-{ASKED[-1]}"] if ASKED else []
    return last + records_done() + [DONE / f"collect-{name}" for name in SETS]


rule explain:
    input:
        records_done,
    output:
        touch(DONE / "explain-{number}"),
    params:
        section=section("explain"),
        parts=config["explain_parts"],
    log:
        LOGS / "explain-{number}.log",
    threads: config["threads"]["stage"]
    resources:
        mem_mb=mb("explain", threads=config["threads"]["stage"], per_person=0.001),
        runtime=minutes("explain", base=240),
    shell:
        "export OMP_NUM_THREADS={threads} OPENBLAS_NUM_THREADS=1; {LEADLIGHT} shards explain {TOLD}"
        " --part {wildcards.number} --of {params.parts} > {log} 2>&1"


rule stage:
    input:
        before,
    output:
        touch(DONE / "stage-{stage}"),
    params:
        section=lambda wildcards: section(wildcards.stage),
    log:
        LOGS / "stage-{stage}.log",
    threads: config["threads"]["stage"]
    resources:
        mem_mb=mb("stage", threads=config["threads"]["stage"], per_person=0.005),
        runtime=minutes("stage", base=120, per_person_s=0.01),
    shell:
        "export OMP_NUM_THREADS={threads} OPENBLAS_NUM_THREADS=1; {LEADLIGHT} run {TOLD}"
        " --only {wildcards.stage} --workers {threads} > {log} 2>&1"
