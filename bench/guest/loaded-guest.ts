/** A micro guest with data disks that carry fio: its load, and what Holdfast needs to take instants of it. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isObject, type InstantHost, type MachineDescription, type RunningMachine } from '#engine/hypervisor'
import { systemClock, systemRandom } from '#runtime'
import { eventually } from '../../test/rig/deadline.ts'
import { startMicroGuest } from '../../test/rig/micro-guest.ts'
import type { RunningGuest } from '../../test/rig/guest-process.ts'
import { fioIn, makeFioDisk } from './fio-disk.ts'

const LETTERS = ['b', 'c', 'd', 'e']
const FIO_MS_MAX = 5 * 60_000

export type LoadedGuestOptions = Readonly<{ dataDisks: number; diskMib: number; dataMib: number; cpuCount?: number }>

export class LoadedGuest {
  readonly guest: RunningGuest
  readonly mounts: readonly string[]
  readonly #folder: string

  private constructor(guest: RunningGuest, mounts: readonly string[], folder: string) {
    this.guest = guest
    this.mounts = mounts
    this.#folder = folder
  }

  static async start(options: LoadedGuestOptions): Promise<LoadedGuest> {
    const folder = await mkdtemp(join(tmpdir(), 'hf-load-'))
    const disks = await Promise.all(
      LETTERS.slice(0, options.dataDisks).map(async (letter) => {
        const path = join(folder, `${letter}.qcow2`)
        await makeFioDisk(path, options.diskMib, options.dataMib)
        return { path, format: 'qcow2' as const }
      }),
    )
    const guest = await startMicroGuest({ disks, cpuCount: options.cpuCount ?? 1, memoryMib: 320 })
    const letters = LETTERS.slice(0, options.dataDisks)
    const mounts = letters.map((letter) => `/data/${letter}`)
    for (const letter of letters) await guest.run(`mkdir -p /data/${letter} && mount /dev/vd${letter} /data/${letter}`)
    return new LoadedGuest(guest, mounts, folder)
  }

  /** Random 4 KiB writes into a file of every data disk, as fast as `iops` a disk, until `stopLoad`. */
  async startLoad(iops: number, seconds: number): Promise<void> {
    const jobs = this.mounts.map(
      (mount, i) => `--name=load${i} --filename=${mount}/load --size=64m --rw=randwrite --bs=4k --fsync=8`,
    )
    const common = `--ioengine=psync --time_based --runtime=${seconds} --rate_iops=${iops} --randseed=7`
    const fio = fioIn(this.mounts[0] ?? '')
    await this.guest.start(
      `${fio} ${common} ${jobs.join(' ')} --output=/run/load.json --output-format=json; touch /run/load.done`,
    )
  }

  /** Runs one fio job to its end and returns its report. */
  async fio(job: string): Promise<Record<string, unknown>> {
    const said = await this.guest.run(`${fioIn(this.mounts[0] ?? '')} ${job} --output-format=json`, FIO_MS_MAX)
    const report: unknown = JSON.parse(said.slice(said.indexOf('{')))
    if (!isObject(report)) throw new Error(`fio said ${said.slice(0, 200)}`)
    return report
  }

  /** As `fio`, without holding the guest's agent meanwhile: a backup needs it. */
  async fioBeside(job: string, seconds: number): Promise<Record<string, unknown>> {
    await this.guest.run('rm -f /run/fio.json /run/fio.done')
    const fio = fioIn(this.mounts[0] ?? '')
    await this.guest.start(`${fio} ${job} --output=/run/fio.json --output-format=json; touch /run/fio.done`)
    await systemClock.sleep(seconds * 1_000)
    const look = async (): Promise<string | undefined> => {
      // While a backup speaks with the agent, it has no answer for us.
      const asked = await this.guest.exec('[ -e /run/fio.done ] && cat /run/fio.json', 5_000).catch(() => undefined)
      return asked?.exitCode === 0 ? asked.stdout : undefined
    }
    const said = await eventually('the end of fio', FIO_MS_MAX, look, 1_000)
    const report: unknown = JSON.parse(said.slice(said.indexOf('{')))
    if (!isObject(report)) throw new Error(`fio said ${said.slice(0, 200)}`)
    return report
  }

  machine(): RunningMachine {
    const { command, name, paths } = this.guest
    const description: MachineDescription = {
      schema: 1,
      name,
      uuid: '8d9ab4ea-55f6-4f4c-a8a4-6a9df4b57a10',
      firmware: 'bios',
      machineType: 'pc',
      cpuCount: command.cpuCount,
      memoryMib: command.memoryMib,
      disks: command.disks.map((disk, lun) => ({
        lun,
        diskId: `disk-${lun}`,
        role: lun === 0 ? 'os' : 'data',
        path: disk.path,
        format: disk.format,
        bus: disk.bus,
        serial: `D${lun}`,
      })),
      networks: [],
      agent: true,
      tags: {},
    }
    return { description, sockets: { qmpSocketPath: paths.qmp, agentSocketPath: paths.agent } }
  }

  async host(onStep?: InstantHost['onStep']): Promise<InstantHost> {
    const { folder } = this.guest.paths
    for (const sub of ['journal', 'scratch']) await mkdir(join(folder, sub), { recursive: true })
    return {
      clock: systemClock,
      random: systemRandom,
      journalFolder: join(folder, 'journal'),
      scratchFolder: join(folder, 'scratch'),
      runFolder: folder,
      watchdog: 'elsewhere',
      ...(onStep === undefined ? {} : { onStep }),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.guest.destroy()
    await rm(this.#folder, { recursive: true, force: true })
  }
}
