"""Slices and their annotations → mixtures of them in data/mixtures, in the mode augment.mode, checked."""

from stages import run
from tarkib import params, tables
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore
from tarkib.errors import TarkibError
from tarkib.mixing import measurement, recipes, rendering, verification
from tarkib.runtime import parallel
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.project import ANNOTATIONS, MIXTURES, SLICES
from tarkib.runtime.text import counted

_MEASURED = 32  # mixtures


def main() -> None:
    """Draw what to mix, render it, and keep it if every promise is kept."""
    settings = params.load()
    slice_rows = tables.SLICES.read(SLICES / "slices.parquet")
    annotations = tables.ANNOTATIONS.read(ANNOTATIONS)
    sources = recipes.join(slice_rows, annotations, tables.RECORDINGS.read(SLICES / "recordings.parquet"))
    for split in ("train", "validation"):
        if split not in sources:
            raise TarkibError(f"no {split} slices; record more performers, or change slice.validation_share")
    for line in recipes.left_out(sources, settings.augment):
        print(line)
    mixtures: list[dict] = []
    components: list[dict] = []
    for split in ("train", "validation"):
        drawn, parts = recipes.draw(split, sources[split], settings.augment)
        print(counted(len(drawn), f"{split} mixture"))
        mixtures += drawn
        components += parts
    with atomic_dir(MIXTURES) as folder:
        jobs = rendering.plan(folder, SLICES, mixtures, components, slice_rows)
        shards = parallel.map_jobs(
            rendering.render_shard, jobs, what="mixing", workers=settings.run.workers, engine=settings.run.engine
        )
        mixtures = [row for shard in shards for row in shard]
        tables.MIXTURES.write(folder / "mixtures.parquet", mixtures)
        tables.COMPONENTS.write(folder / "components.parquet", components)
        clips.check(folder, mixtures)
        verification.raise_if_any(verification.verify(mixtures, components, annotations, slice_rows, settings.augment))
        with ClipStore(SLICES) as store:
            renderer = rendering.Renderer(store, rendering.places(slice_rows))
            sample = tables.spread(mixtures, _MEASURED)
            measured = measurement.measure(folder, renderer, sample, components, settings.augment)
        verification.raise_if_any(measured.defects)
    print(measured.summary())


if __name__ == "__main__":
    run(main)
