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
    mixtures, components = [], []
    for split in ("train", "validation"):
        if split not in sources:
            raise TarkibError(f"no {split} slices; record more performers, or change slice.validation_share")
        some_mixtures, some_components = recipes.draw(split, sources[split], settings.augment)
        print(*recipes.left_out(split, sources[split]), f"{len(some_mixtures)} {split} mixtures", sep="\n")
        mixtures += some_mixtures
        components += some_components
    with whole_folder(MIXTURES) as folder:
        jobs = rendering.plan(folder, SLICES, mixtures, components, slice_rows)
        shards = parallel.map_jobs(rendering.render_shard, jobs, what="mixing", workers=settings.run.workers)
        tables.MIXTURES.write(folder / "mixtures.parquet", [row for shard in shards for row in shard])
        tables.COMPONENTS.write(folder / "components.parquet", components)


if __name__ == "__main__":
    run(main)
