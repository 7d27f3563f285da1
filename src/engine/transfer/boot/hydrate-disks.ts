/**
 * Moves in what overlays still read from the versions below them, whoever has them: the QEMU of a machine that runs, or nobody.
 *
 *   dies                    what goes on
 *   who calls this          QEMU's job; it waits when the server is away. The next call takes it up
 *   QEMU                    the overlays are whole; the next look finds the machine's next QEMU, or nobody
 *   the machine, deleted    disks that are gone need nothing any more
 *
 * A disk is done when its own header names nothing below it. Disks that nobody has are moved in by a storage daemon, one at a time;
 * it lets go of one at once when a machine is to have it (`mayRest`).
 */
import { type Clock, isHoldfastError, type ProgressSink } from '#base'
import { readQcow2 } from '#engine/block'
import { countGuestReads, hydrate, hydrateOffline, type Hypervisor } from '#engine/hypervisor'
import { BootQuiet } from './boot-quiet.ts'

const LOOK_MS = 500
/** So long nobody must have had a disk before the storage daemon takes it. */
const REST_MS = 5_000

export type HydrateDisks = Readonly<{
  /** Paths of the overlays. */
  files: readonly string[]
  hypervisor: Hypervisor
  clock: Clock
  /** A path in a short folder: for the storage daemon's monitor. */
  monitorPath: string
  signal: AbortSignal
  /** It returns after so long, done or not: whoever calls this makes way for others in between. */
  forMs: number
  progress: ProgressSink
  /** Called at every look. */
  keepAlive: () => Promise<void>
  /** Called once, when a machine runs on any of them. */
  onRunning: (machine: string, startedAtMs: number) => void
  /** Runs `use` while the file may be held; its signal aborts when somebody wants it. Undefined: not now. */
  whileResting: (file: string, use: (signal: AbortSignal) => Promise<void>) => Promise<void> | undefined
}>

/** Whether the disk rests on nothing any more; one that is gone does. */
export async function isHydrated(file: string): Promise<boolean> {
  try {
    return (await readQcow2(file)).backingFile === undefined
  } catch (error) {
    if (isHoldfastError(error, 'image_not_found')) return true
    throw error
  }
}

type Running = Readonly<{
  name: string
  control: string
  startedAtMs: number
  luns: readonly number[]
  files: readonly string[]
}>

/** Undefined: it was deleted since it was seen. */
async function described(hypervisor: Hypervisor, name: string) {
  try {
    return await hypervisor.describe(name)
  } catch (error) {
    if (isHoldfastError(error, 'machine_not_found')) return undefined
    throw error
  }
}

/** Machines that run on any of the files. */
async function machinesOn(hypervisor: Hypervisor, files: ReadonlySet<string>): Promise<Running[]> {
  const found: Running[] = []
  for (const { machine } of (await hypervisor.discover()).machines) {
    const disks = machine.disks.filter(({ path }) => files.has(path))
    if (disks.length === 0) continue
    const status = await described(hypervisor, machine.name)
    if (status?.sockets?.control === undefined) continue
    const { sockets, startedAtMs } = status
    found.push({
      name: machine.name,
      control: sockets.control,
      startedAtMs: startedAtMs ?? 0,
      luns: disks.map(({ lun }) => lun),
      files: disks.map(({ path }) => path),
    })
  }
  return found
}

class Hydrator {
  readonly #given: HydrateDisks
  readonly #quiet = new Map<string, BootQuiet>()
  readonly #bytes = new Map<string, Readonly<{ doneBytes: number; totalBytes: number }>>()
  readonly #restingSinceMs = new Map<string, number>()
  readonly #endMs: number
  #hasRun = false

  constructor(given: HydrateDisks) {
    this.#given = given
    this.#endMs = given.clock.monotonicMs() + given.forMs
  }

  async run(): Promise<boolean> {
    const { files, clock, signal, keepAlive } = this.#given
    for (;;) {
      signal.throwIfAborted()
      const left: string[] = []
      for (const file of files) if (!(await isHydrated(file))) left.push(file)
      if (left.length === 0) return true
      if (clock.monotonicMs() >= this.#endMs) return false
      await keepAlive()
      await this.#look(new Set(left))
      this.#tell()
      await clock.sleep(LOOK_MS, signal)
    }
  }

  async #look(left: ReadonlySet<string>): Promise<void> {
    const { hypervisor } = this.#given
    const machines = await machinesOn(hypervisor, left)
    for (const machine of machines) await this.#online(machine)
    const held = new Set(machines.flatMap(({ files }) => files))
    await this.#offline(
      [...left].filter((file) => !held.has(file)),
      held,
    )
  }

  async #online(machine: Running): Promise<void> {
    const { clock, onRunning } = this.#given
    if (!this.#hasRun) onRunning(machine.name, machine.startedAtMs)
    this.#hasRun = true
    try {
      if (!(await this.#isSettled(machine))) return
      const states = await hydrate(machine.control, machine.luns, { clock })
      for (const [at, { state, doneBytes, totalBytes }] of states.entries())
        if (state === 'running') this.#bytes.set(machine.files[at] ?? '', { doneBytes, totalBytes })
    } catch (error) {
      // It ended, or something else has its monitor: the next look finds out.
      if (!isHoldfastError(error, 'qmp_unreachable', 'qmp_busy', 'qmp_disconnected', 'machine_state_conflict'))
        throw error
    }
  }

  /** A boot that still reads comes before the data that it does not ask for. */
  async #isSettled({ name, startedAtMs, control }: Running): Promise<boolean> {
    const { clock } = this.#given
    const key = `${name} ${startedAtMs}`
    const quiet = this.#quiet.get(key) ?? new BootQuiet(clock.monotonicMs())
    this.#quiet.set(key, quiet)
    return quiet.isSettled(clock.monotonicMs(), await countGuestReads(control, { clock }))
  }

  async #offline(resting: readonly string[], held: ReadonlySet<string>): Promise<void> {
    const { clock } = this.#given
    const nowMs = clock.monotonicMs()
    for (const file of held) this.#restingSinceMs.delete(file)
    for (const file of resting) if (!this.#restingSinceMs.has(file)) this.#restingSinceMs.set(file, nowMs)
    const first = resting.find((file) => nowMs - (this.#restingSinceMs.get(file) ?? nowMs) >= REST_MS)
    if (first === undefined) return
    await this.#given.whileResting(first, (wanted) => this.#moveAtRest(first, wanted))
  }

  async #moveAtRest(path: string, wanted: AbortSignal): Promise<void> {
    const { clock, monitorPath, keepAlive } = this.#given
    const over = new AbortController()
    const signal = AbortSignal.any([this.#given.signal, wanted, over.signal])
    const progress = (doneBytes: number, totalBytes: number): void => {
      this.#bytes.set(path, { doneBytes, totalBytes })
      this.#tell()
      void keepAlive()
      if (clock.monotonicMs() >= this.#endMs) over.abort()
    }
    try {
      await hydrateOffline({ path, monitorPath, clock, signal, progress })
    } catch (error) {
      // A machine took it first: the next look finds it there.
      if (!isHoldfastError(error, 'disk_in_use', 'instant_failed', 'qmp_disconnected')) throw error
    }
    this.#restingSinceMs.delete(path)
  }

  #tell(): void {
    const all = [...this.#bytes.values()]
    const sum = (field: 'doneBytes' | 'totalBytes'): number => all.reduce((total, one) => total + one[field], 0)
    this.#given.progress({ task: 'Moving the data in', doneBytes: sum('doneBytes'), totalBytes: sum('totalBytes') })
  }
}

/** Whether every disk is its own; it resolves as soon as they are. @throws the signal's reason; what the driver raises */
export function hydrateDisks(given: HydrateDisks): Promise<boolean> {
  return new Hydrator(given).run()
}
