# Genotypes: what all files share is worked out once, then each file is tested, then all are joined.


rule convert:
    output:
        touch(DONE / "convert-{part}"),
    log:
        LOGS / "convert-{part}.log",
    resources:
        mem_mb=mb("convert", per_person=0.01),
        runtime=minutes("convert", base=30, per_person_s=0.2),
    shell:
        "{LEADLIGHT} shards convert {TOLD} --file {wildcards.part} > {log} 2>&1"


def converted(wildcards):
    return [DONE / f"convert-{name}" for name, part in PARTS.items() if part.is_converted]


rule prepare:
    input:
        records_done,
        converted,
    output:
        touch(DONE / "prepare-{set}"),
    params:
        section=section("gwas"),
    log:
        LOGS / "prepare-{set}.log",
    threads: config["threads"]["prepare"]
    resources:
        mem_mb=mb("prepare", threads=config["threads"]["prepare"], per_person=0.012),
        runtime=minutes("prepare", base=30, per_person_s=0.1, threads=config["threads"]["prepare"]),
    shell:
        "export OMP_NUM_THREADS=1; {LEADLIGHT} shards prepare {TOLD} --traits {wildcards.set}"
        " --workers {threads} > {log} 2>&1"


rule associate:
    input:
        DONE / "prepare-{set}",
    output:
        touch(DONE / "associate-{set}-{part}"),
    params:
        section=section("gwas"),
    log:
        LOGS / "associate-{set}-{part}.log",
    threads: config["threads"]["associate"]
    resources:
        mem_mb=mb("associate", threads=config["threads"]["associate"], per_person=0.004),
        runtime=minutes(
            "associate", base=30, per_person_s=0.1, threads=config["threads"]["associate"]
        ),
    shell:
        "export OMP_NUM_THREADS=1; {LEADLIGHT} shards associate {TOLD} --traits {wildcards.set}"
        " --file {wildcards.part} --workers {threads} > {log} 2>&1"


rule collect:
    input:
        lambda wildcards: [DONE / f"associate-{wildcards.set}-{name}" for name in PARTS],
    output:
        touch(DONE / "collect-{set}"),
    params:
        section=section("gwas"),
    log:
        LOGS / "collect-{set}.log",
    resources:
        mem_mb=mb("collect", base=3000),
        runtime=60,
    shell:
        "{LEADLIGHT} shards collect {TOLD} --traits {wildcards.set} > {log} 2>&1"
