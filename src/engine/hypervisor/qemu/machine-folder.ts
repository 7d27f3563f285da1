/**
 * MachineFolder keeps what must outlive us about one machine: its description and the record of its last run, each replaced
 * whole and durably. A machine exists when its `machine.json` does; creating writes it last, deleting removes it first, so
 * that a crash in between leaves a folder that is no machine and that `create` or `delete` clears.
 *
 * Both files are read as if a stranger had written them: what is not valid is `machine_invalid`, never a guess.
 */
import { mkdir, readdir, readFile, rm, rmdir, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Clock, errnoOf, messageOf } from '#base'
import {
  argumentsOf,
  currentBootId,
  type HostProcess,
  identityOf,
  makeFolderDurable,
  replaceFile,
  syncFolder,
} from '#runtime'
import { HypervisorError } from '../errors.ts'
import type { MachineDescription } from '../machine.ts'
import { isObject } from '../qmp/shape.ts'
import { type MachinePaths, machinePaths, type QemuRoots } from './machine-paths.ts'
import { type EndIntent, type ExitRecord, judge, parseExitRecord, type RunRecord, type Verdict } from './run-record.ts'
import { isMachineName, requireValidMachine } from './validate.ts'

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function parseFile(path: string, text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    if (isObject(value) && value['schema'] === 1) return value
    throw new Error('it is of no schema that this version knows')
  } catch (cause) {
    throw new HypervisorError('machine_invalid', `${path} cannot be read: ${messageOf(cause)}.`, {
      facts: { path },
      cause,
    })
  }
}

/** Shape before meaning: `machineFaults` may then look at every member. */
function looksLikeMachine(value: unknown): value is MachineDescription {
  if (!isObject(value)) return false
  const areObjects = (list: unknown): boolean => Array.isArray(list) && list.every(isObject)
  return (
    typeof value['name'] === 'string' &&
    typeof value['uuid'] === 'string' &&
    typeof value['cpuCount'] === 'number' &&
    typeof value['memoryMib'] === 'number' &&
    (value['firmware'] === 'bios' || value['firmware'] === 'uefi') &&
    (value['machineType'] === 'pc' || value['machineType'] === 'q35') &&
    areObjects(value['disks']) &&
    areObjects(value['networks'])
  )
}

/** The supervisor needs two file operations after QEMU's end; on a loaded host that is still far below a second. */
const EXIT_WAIT_MS_MAX = 1_000
const EXIT_POLL_MS = 20

function judgeWithout(record: Extract<RunRecord, { phase: 'ended' }> | undefined): Verdict {
  return judge({ record, exit: undefined, process: undefined, bootId: '' })
}

export type Judgement = Readonly<{ record: RunRecord | undefined; verdict: Verdict }>

export class MachineFolder {
  readonly name: string
  readonly paths: MachinePaths
  readonly #clock: Clock

  constructor(roots: QemuRoots, name: string, clock: Clock) {
    this.name = name
    this.#clock = clock
    this.paths = machinePaths(roots, name)
  }

  /** @throws `machine_not_found`, `machine_invalid`. */
  async readDescription(): Promise<MachineDescription> {
    const text = await readText(this.paths.description)
    if (text === undefined) throw new HypervisorError('machine_not_found', `There is no machine ${this.name} here.`)
    const value = parseFile(this.paths.description, text)
    if (!looksLikeMachine(value) || value.name !== this.name)
      throw new HypervisorError('machine_invalid', `${this.paths.description} does not describe ${this.name}.`)
    requireValidMachine(value)
    return value
  }

  async writeDescription(machine: MachineDescription): Promise<void> {
    requireValidMachine(machine)
    await makeFolderDurable(this.paths.folder)
    await replaceFile(this.paths.description, [Buffer.from(`${JSON.stringify(machine, undefined, 2)}\n`)])
  }

  async exists(): Promise<boolean> {
    return (await readText(this.paths.description)) !== undefined
  }

  async readRun(): Promise<RunRecord | undefined> {
    const text = await readText(this.paths.run)
    if (text === undefined) return undefined
    const record = parseFile(this.paths.run, text) as RunRecord // only Holdfast writes it; a torn write is impossible
    if (record.phase !== 'running') return record
    // Version 0.1.0 wrote the start time as a number, and the boot only beside it.
    const { pid, startTicks } = record.process as { pid: number; startTicks: string | number }
    return { ...record, process: { bootId: record.bootId, pid, startTicks: String(startTicks) } }
  }

  async writeRun(record: RunRecord): Promise<void> {
    await replaceFile(this.paths.run, [Buffer.from(`${JSON.stringify(record, undefined, 2)}\n`)])
  }

  /** Asks all witnesses of run-record.ts what the machine is now. */
  async judge(): Promise<Judgement> {
    const record = await this.readRun()
    if (record === undefined || record.phase === 'ended') return { record, verdict: judgeWithout(record) }
    return this.judgeNow(record, EXIT_WAIT_MS_MAX)
  }

  /** As `judge`, for a record that is known. */
  async judgeNow(record: Exclude<RunRecord, { phase: 'ended' }>, exitWaitMs = 0): Promise<Judgement> {
    const bootId = currentBootId()
    // The process first, the exit record after it: the other way round an end in between would look like vanishing.
    const process = await this.findProcess(record)
    const mayComeSoon = process === undefined && record.bootId === bootId
    const exit = process === undefined ? await this.#awaitExit(mayComeSoon ? exitWaitMs : 0) : undefined
    return { record, verdict: judge({ record, exit, process, bootId }) }
  }

  /** QEMU may be gone a moment before the supervisor has written how. */
  async #awaitExit(waitMs: number): Promise<ExitRecord | undefined> {
    for (let waitedMs = 0; ; waitedMs += EXIT_POLL_MS) {
      const text = await readText(this.paths.exit)
      if (text !== undefined) return parseExitRecord(text)
      if (waitedMs >= waitMs) return undefined
      await this.#clock.sleep(EXIT_POLL_MS)
    }
  }

  /** The live QEMU of this run: the recorded process, or while starting the one that was given our monitor socket. */
  async findProcess(record: Exclude<RunRecord, { phase: 'ended' }>): Promise<HostProcess | undefined> {
    const pid = record.phase === 'running' ? record.process.pid : Number((await readText(this.paths.pid))?.trim())
    if (!Number.isSafeInteger(pid) || pid <= 1) return undefined
    const found = identityOf(pid)
    if (found === undefined) return undefined
    if (record.phase === 'running') return found.startTicks === record.process.startTicks ? found : undefined
    const isOurs = argumentsOf(pid).some((arg) => arg.includes(`path=${this.paths.controlSocket},`))
    return isOurs ? found : undefined
  }

  /** Empties the runtime folder: old sockets, pid file, exit record. Only while nothing runs. */
  async clearRuntime(): Promise<void> {
    await rm(this.paths.runtime, { recursive: true, force: true })
    await rm(this.paths.exit, { force: true })
    await mkdir(dirname(this.paths.runtime), { recursive: true, mode: 0o711 })
    await mkdir(this.paths.runtime, { recursive: true, mode: 0o700 })
    await mkdir(this.paths.links, { recursive: true, mode: 0o700 })
  }

  /**
   * Asks what the machine is now and writes down what the record did not know yet: that a start came to its end without us,
   * or how the run ended. The caller holds the machine's lock.
   */
  async adopt(): Promise<Verdict> {
    const { record, verdict } = await this.judge()
    if (record === undefined || record.phase === 'ended') return verdict
    const { runId } = record
    if (verdict.power !== 'running') {
      if (verdict.end !== undefined) await this.writeRun({ schema: 1, runId, phase: 'ended', end: verdict.end })
    } else if (record.phase === 'starting') {
      const isKvm = argumentsOf(verdict.process.pid).includes('kvm')
      const accelerator = isKvm ? 'kvm' : 'tcg'
      await this.writeRun({ ...record, phase: 'running', process: verdict.process, accelerator, notes: [] })
    }
    return verdict
  }

  /** Writes down that the machine is to end, and returns its process; undefined when it does not run. */
  async intend(intent: EndIntent): Promise<HostProcess | undefined> {
    if ((await this.adopt()).power !== 'running') return undefined
    const record = await this.readRun()
    if (record?.phase !== 'running') return undefined
    await this.writeRun({ ...record, intent })
    return record.process
  }

  /** Ends the machine's existence: from here on there is none of that name. */
  async forget(): Promise<void> {
    await unlink(this.paths.description)
    await syncFolder(this.paths.folder)
  }

  /** Removes the machine's own files, never a disk; its folders go when nothing else is in them. */
  async removeRest(): Promise<void> {
    const { paths } = this
    const own = [paths.run, paths.exit, paths.uefiVars, paths.seed, paths.serialLog, paths.qemuLog]
    for (const path of own.flatMap((one) => [one, `${one}.old`])) await rm(path, { force: true })
    await rm(paths.runtime, { recursive: true, force: true })
    await this.removeEmptyFolders()
  }

  async removeEmptyFolders(): Promise<void> {
    for (const folder of [this.paths.disks, this.paths.folder]) await removeIfEmpty(folder)
  }
}

async function removeIfEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder)
  } catch (error) {
    const code = errnoOf(error)
    if (code !== 'ENOTEMPTY' && code !== 'ENOENT') throw error // somebody's disks stay where they are
  }
}

/** The names of all machines under the root, sorted. */
export async function listMachines(roots: QemuRoots): Promise<string[]> {
  let names: string[]
  try {
    names = await readdir(roots.machinesFolder)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
  const machines: string[] = []
  for (const name of names.filter(isMachineName).sort())
    if ((await readText(machinePaths(roots, name).description)) !== undefined) machines.push(name)
  return machines
}
