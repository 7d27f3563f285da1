/** What the simulation knows of the truth: every backup's content by its note, and what was promised to whom. */
import { must, type SeededRandom } from '#base'
import type { PointRecord } from '#engine/repository'
import { DiskContent } from './disk-content.ts'

const SIZE_BYTES_MIN = 17 * 1024 * 1024

/** The disks of one simulated machine and all that was ever backed up of them. */
export class MachineModel {
  #disks: readonly DiskContent[]
  readonly #byNote = new Map<string, readonly DiskContent[]>()
  /** Points whose commit was acknowledged to the caller. */
  readonly acknowledged = new Set<string>()
  /** Points that somebody began to forget, acknowledged or not. */
  readonly forgetBegun = new Set<string>()
  readonly forgotten = new Set<string>()
  /** What the log says of points that were locked when their commit was acknowledged. */
  readonly lockedUntilMs = new Map<string, number>()

  constructor(random: SeededRandom) {
    const count = 1 + random.below(2)
    this.#disks = Array.from(
      { length: count },
      (_, disk) => new DiskContent(disk, SIZE_BYTES_MIN + 512 * random.below(100)),
    ).map((disk) => disk.changed(random).changed(random).changed(random))
  }

  /** The machine works on; what it then holds is kept under a note. */
  takeInstant(note: string, random: SeededRandom): readonly DiskContent[] {
    this.#disks = this.#disks.map((disk) => (random.chance(0.8) ? disk.changed(random) : disk))
    this.#byNote.set(note, this.#disks)
    return this.#disks
  }

  /** What the point must give back. */
  contentOf(point: PointRecord): readonly DiskContent[] {
    return must(this.#byNote.get(point.notes[0] ?? ''), 'Every point of the simulation carries the note of its instant')
  }
}
