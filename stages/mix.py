"""Slices and their annotations → mixtures of them in data/mixtures, in the mode augment.mode."""

from stages import ANNOTATIONS, MIXTURES, SLICES, run
from tarkib import parallel, params, tables
from tarkib.errors import TarkibError
from tarkib.mixing import material, recipes, rendering
from tarkib.outputs import whole_folder


def main() -> None:
    """Draw what to mix, then make it sound."""
    settings = params.load()
    slice_rows = tables.SLICES.read(SLICES / "slices.parquet")
    sources = material.join(slice_rows, tables.ANNOTATIONS.read(ANNOTATIONS))
    counts = {"train": settings.augment.train_mixtures, "validation": settings.augment.validation_mixtures}
    mixtures, components = [], []
    for split, count in counts.items():
        if split not in sources:
            raise TarkibError(f"no {split} slices; record more performers, or change slice.validation_share")
        some_mixtures, some_components = recipes.draw(split, count, sources[split], settings.augment)
        mixtures += some_mixtures
        components += some_components
    with whole_folder(MIXTURES) as folder:
        jobs = rendering.plan(folder, SLICES, mixtures, components, slice_rows)
        shards = parallel.map_jobs(rendering.render_shard, jobs, what="mixing", workers=settings.run.workers)
        tables.MIXTURES.write(folder / "mixtures.parquet", [row for shard in shards for row in shard])
        tables.COMPONENTS.write(folder / "components.parquet", components)
    print(f"{len(mixtures)} mixtures of {len(components)} components in mode {settings.augment.mode}")


if __name__ == "__main__":
    run(main)
