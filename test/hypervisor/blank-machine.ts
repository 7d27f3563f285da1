/**
 * A QEMU without a guest: it sits in its firmware, and tests write to its disks through the monitor (`qemu-io`), which goes
 * through the block graph as a guest's writes do. Starts in half a second. Every sector written carries (disk, sector,
 * version), and a model in memory keeps what the disks must hold.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SECTOR_BYTES } from '#base'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import {
  type InstantHost,
  isObject,
  type JsonObject,
  type MachineDescription,
  QmpClient,
  type RunningMachine,
} from '#engine/hypervisor'

export type BlankDisk = Readonly<{
  format?: 'qcow2' | 'raw'
  bus?: keyof typeof DEVICES
  sizeBytes?: number
  /** qcow2 over a raw image that holds the content, as a disk that is still being hydrated. */
  overlay?: boolean
  /** The written half is random and does not say where it belongs: it takes a backup as long as its bytes do. */
  isRandom?: boolean
}>

/** Not a multiple of the 64 KiB that bitmaps and clusters use. */
export const BLANK_DISK_BYTES = 5 * 1024 * 1024 + 7 * SECTOR_BYTES

/** Fills [offset, offset + length) of `into` with sectors that say where they belong. */
export function stamp(into: Buffer, offset: number, length: number, lun: number, version: number): void {
  for (let at = offset; at < offset + length; at += SECTOR_BYTES) {
    const text = `disk ${lun} sector ${at / SECTOR_BYTES} version ${version} `
    into.fill(text, at, at + SECTOR_BYTES)
  }
}

/** Polls a real condition; fails with `what` after `timeoutMs`. */
export async function until(what: string, condition: () => Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const endMs = systemClock.monotonicMs() + timeoutMs
  while (!(await condition())) {
    if (systemClock.monotonicMs() > endMs) throw new Error(`Waited in vain: ${what}`)
    await systemClock.sleep(20)
  }
}

/** QEMU's devices for a disk on each bus; `#` stands for the LUN. */
const DEVICES = {
  virtio: ['virtio-blk-pci,drive=disk#,id=vd#'],
  'virtio-iothread': ['virtio-blk-pci,drive=disk#,id=vd#,iothread=io0'],
  'virtio-anonymous': ['virtio-blk-pci,drive=disk#'],
  scsi: ['virtio-scsi-pci,id=sc#', 'scsi-hd,drive=disk#,id=vd#,bus=sc#.0'],
  ide: ['ide-hd,drive=disk#,id=vd#'],
  nvme: ['nvme,drive=disk#,id=vd#,serial=nvme#'],
  usb: ['qemu-xhci,id=xh#', 'usb-storage,drive=disk#,id=vd#,bus=xh#.0'],
} as const

function deviceOf(disk: BlankDisk, lun: number): string[] {
  return DEVICES[disk.bus ?? 'virtio'].flatMap((device) => ['-device', device.replaceAll('#', String(lun))])
}

export class BlankMachine {
  readonly folder: string
  readonly disks: readonly BlankDisk[]
  /** What the disks must hold now. */
  readonly model: Buffer[]
  #version = 1
  #process: ChildProcess | undefined
  #qmp: QmpClient | undefined

  private constructor(folder: string, disks: readonly BlankDisk[]) {
    this.folder = folder
    this.disks = disks
    this.model = disks.map((disk, lun) => {
      const bytes = Buffer.alloc(disk.sizeBytes ?? BLANK_DISK_BYTES)
      // The first half is written, the rest is a hole, as on most disks.
      const written = Math.floor(bytes.length / 2 / SECTOR_BYTES) * SECTOR_BYTES
      if (disk.isRandom === true) randomFillSync(bytes, 0, written)
      else stamp(bytes, 0, written, lun, 0)
      return bytes
    })
  }

  static async create(disks: readonly BlankDisk[]): Promise<BlankMachine> {
    const machine = new BlankMachine(await mkdtemp(join(tmpdir(), 'hf-blank-')), disks)
    for (const [lun, disk] of disks.entries()) {
      const raw = join(machine.folder, `content${lun}`)
      await writeFile(raw, machine.model[lun] ?? '')
      if (disk.overlay === true) {
        await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', raw, '-F', 'raw', machine.pathOf(lun)])
      } else
        await checkCommand('qemu-img', ['convert', '-f', 'raw', '-O', disk.format ?? 'qcow2', raw, machine.pathOf(lun)])
    }
    await machine.start()
    return machine
  }

  pathOf(lun: number): string {
    return join(this.folder, `disk${lun}.${this.disks[lun]?.format ?? 'qcow2'}`)
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  /** The test's own monitor; instants get the other one. */
  get qmp(): QmpClient {
    if (this.#qmp === undefined) throw new Error('The machine does not run')
    return this.#qmp
  }

  async start(): Promise<void> {
    const args = ['-accel', 'tcg', '-m', '32', '-nodefaults', '-display', 'none', '-machine', 'pc']
    for (const name of ['test', 'instant', 'rescue'])
      args.push('-qmp', `unix:${join(this.folder, name)}.qmp,server=on,wait=off`)
    if (this.disks.some((disk) => disk.bus === 'virtio-iothread')) args.push('-object', 'iothread,id=io0')
    for (const [lun, disk] of this.disks.entries()) {
      const file = { driver: 'file', filename: this.pathOf(lun), 'node-name': `disk${lun}-file` }
      const node = { 'node-name': `disk${lun}`, driver: disk.format ?? 'qcow2', discard: 'unmap', file }
      args.push('-blockdev', JSON.stringify(node), ...deviceOf(disk, lun))
    }
    for (const name of ['test', 'instant', 'rescue']) await rm(join(this.folder, `${name}.qmp`), { force: true })
    this.#process = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'inherit'] })
    const socket = join(this.folder, 'test.qmp')
    await until('QEMU listens', () => Promise.resolve(existsSync(join(this.folder, 'rescue.qmp'))))
    this.#qmp = await QmpClient.connect(socket, { clock: systemClock })
  }

  async #exited(act: () => unknown): Promise<void> {
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    await act()
    await exit
    await this.#qmp?.close()
  }

  /** A clean end: QEMU closes its images and stores their bitmaps. */
  async stop(): Promise<void> {
    await this.#exited(() => this.#process?.kill('SIGTERM'))
  }

  async kill(): Promise<void> {
    await this.#exited(() => this.#process?.kill('SIGKILL'))
  }

  async remove(): Promise<void> {
    await this.kill()
    await rm(this.folder, { recursive: true, force: true })
  }

  /** Writes a new version of these sectors as a guest would. */
  async write(lun: number, offset: number, length: number): Promise<void> {
    const model = this.model[lun]
    if (model === undefined) throw new Error(`There is no disk ${lun}`)
    this.#version += 1
    stamp(model, offset, length, lun, this.#version)
    const pattern = join(this.folder, `pattern${lun}`)
    await writeFile(pattern, model.subarray(offset, offset + length))
    const device = await this.#deviceOf(lun)
    const line = `qemu-io -d ${device} "write -q -s ${pattern} ${offset} ${length}"`
    const said = await this.qmp.execute('human-monitor-command', { 'command-line': line })
    if (said !== '') throw new Error(`qemu-io said: ${String(said)}`)
  }

  async #deviceOf(lun: number): Promise<string> {
    const name = `disk${lun}`
    const drives = (await this.qmp.execute('query-block')) as JsonObject[]
    for (const drive of drives) {
      const inserted = isObject(drive['inserted']) ? drive['inserted'] : {}
      if (inserted['file'] === this.pathOf(lun)) {
        const qdev = String(drive['qdev'])
        return qdev.startsWith('/') ? qdev : `/machine/peripheral/${qdev}`
      }
    }
    throw new Error(`No device reads ${name}`)
  }

  /** The block graph and what devices read, without what counts up: equal before and after an instant. */
  async graph(): Promise<unknown> {
    const nodes = (await this.qmp.execute('query-named-block-nodes', { flat: true })) as JsonObject[]
    const drives = (await this.qmp.execute('query-block')) as JsonObject[]
    const exports = await this.qmp.execute('query-block-exports')
    const jobs = await this.qmp.execute('query-block-jobs')
    return {
      nodes: nodes.map((node) => `${String(node['node-name'])} ${String(node['drv'])} ${String(node['file'])}`).sort(),
      drives: drives.map((drive) => {
        const inserted = isObject(drive['inserted']) ? drive['inserted'] : {}
        return `${String(drive['qdev'])} ${String(inserted['node-name'])}`
      }),
      exports,
      jobs,
    }
  }

  async status(): Promise<string> {
    const status = await this.qmp.execute('query-status')
    return isObject(status) ? String(status['status']) : ''
  }

  /** Names of the bitmaps of a disk, with "+" for recording and "-" for stopped ones. */
  async bitmaps(lun: number): Promise<string[]> {
    const nodes = (await this.qmp.execute('query-named-block-nodes', { flat: true })) as JsonObject[]
    const node = nodes.find((one) => one['node-name'] === `disk${lun}`)
    const list = Array.isArray(node?.['dirty-bitmaps']) ? node['dirty-bitmaps'].filter(isObject) : []
    return list
      .filter((bitmap) => 'name' in bitmap)
      .map((bitmap) => `${String(bitmap['name'])}${bitmap['recording'] === true ? '+' : '-'}`)
      .sort()
  }

  describe(): MachineDescription {
    return {
      schema: 1,
      name: 'blank',
      uuid: '5b0c3a36-2f0e-4c55-8a27-0f9d2f1c7b11',
      firmware: 'bios',
      machineType: 'pc',
      cpuCount: 1,
      memoryMib: 32,
      disks: this.disks.map((disk, lun) => ({
        lun,
        diskId: `disk-${lun}`,
        role: lun === 0 ? 'os' : 'data',
        path: this.pathOf(lun),
        format: disk.format ?? 'qcow2',
        bus: 'virtio-blk',
        serial: `D${lun}`,
      })),
      networks: [],
      agent: false,
      tags: {},
    }
  }

  running(): RunningMachine {
    return { description: this.describe(), sockets: { qmpSocketPath: join(this.folder, 'instant.qmp') } }
  }

  host(more: Partial<InstantHost> = {}): InstantHost {
    return {
      clock: systemClock,
      random: systemRandom,
      journalFolder: join(this.folder, 'journal'),
      scratchFolder: join(this.folder, 'scratch'),
      runFolder: join(this.folder, 'run'),
      scratchFloorBytes: 0,
      watchdog: 'elsewhere',
      ...more,
    }
  }
}
