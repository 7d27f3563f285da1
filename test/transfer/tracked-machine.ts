/** A QEMU without a guest and a repository in memory: what tests of change tracking back up and look at. */
import assert from 'node:assert/strict'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KIB } from '#base'
import { MemoryDevice } from '#engine/block'
import { openRunningInstant, type OpenInstantOptions } from '#engine/hypervisor'
import { MemoryStore, type PointRecord, Repository } from '#engine/repository'
import { backUpMachine, restoreDisk } from '#engine/transfer'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { type BlankDisk, BlankMachine } from '../hypervisor/blank-machine.ts'

const credential = { kind: 'passphrase', passphrase: 'a test' } as const
const kdfCost = { memoryKib: 8, passes: 1, parallelism: 1 }
export const CHUNK_BYTES = 64 * KIB
const CLUSTER_BYTES = 64 * KIB

export type BackupHow = Readonly<{ onOpen?: () => Promise<void>; excludeLuns?: readonly number[]; scan?: boolean }>

export class TrackedMachine {
  readonly vm: BlankMachine
  readonly repository: Repository
  readonly store: MemoryStore
  readonly warnings: string[] = []
  readonly #folder: string

  private constructor(vm: BlankMachine, repository: Repository, store: MemoryStore, folder: string) {
    this.vm = vm
    this.repository = repository
    this.store = store
    this.#folder = folder
  }

  static async make(disks: readonly BlankDisk[], chunkSizeBytes = CHUNK_BYTES): Promise<TrackedMachine> {
    const cacheFolder = await mkdtemp(join(tmpdir(), 'hf-tracked-'))
    const environment = { clock: systemClock, random: systemRandom, cacheFolder, writer: 'test' }
    const store = new MemoryStore({ name: 'test' })
    await Repository.init(store, { credential, chunkSizeBytes, kdfCost }, environment)
    const repository = await Repository.open(store, credential, environment)
    return new TrackedMachine(await BlankMachine.create(disks), repository, store, cacheFolder)
  }

  async remove(): Promise<void> {
    await this.vm.remove()
    await this.repository.close()
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** `onOpen` runs whenever an instant was opened, before anything is read from it. */
  async backUp({ onOpen, excludeLuns = [], scan = false }: BackupHow = {}): Promise<PointRecord> {
    const openInstant = async (options: OpenInstantOptions) => {
      const instant = await openRunningInstant(this.vm.host(), this.vm.running(), options)
      await onOpen?.()
      return instant
    }
    return backUpMachine(
      this.repository,
      { machine: 'vm', consistency: 'crash', excludeLuns, scan, openInstant },
      {
        store: this.store,
        clock: systemClock,
        random: systemRandom,
        writer: 'test',
        onWarning: (sentence) => this.warnings.push(sentence),
      },
    )
  }

  /** Overwrites what is allocated of a stopped machine's qcow2, or some of it, past QEMU, so that no bitmap hears of it. */
  async tamper(lun: number, isMeant: (offset: number) => boolean = () => true): Promise<void> {
    const path = this.vm.pathOf(lun)
    const { stdout } = await checkCommand('qemu-img', ['map', '--output=json', '-f', 'qcow2', path])
    type Run = { start: number; length: number; data: boolean; offset?: number }
    const runs = JSON.parse(stdout.toString('utf8')) as Run[]
    const file = await open(path, 'r+')
    const rubble = Buffer.alloc(CLUSTER_BYTES, 'tampered')
    for (const { start, length, data, offset } of runs) {
      if (!data || offset === undefined) continue
      for (let at = 0; at < length; at += CLUSTER_BYTES)
        if (isMeant(start + at)) await file.write(rubble, 0, Math.min(CLUSTER_BYTES, length - at), offset + at)
    }
    await file.close()
  }

  /** The disk as whoever reads the stopped machine's image sees it. */
  async bytesOf(lun: number): Promise<Buffer> {
    const plain = join(this.vm.folder, `plain${lun}`)
    const path = this.vm.pathOf(lun)
    await checkCommand('qemu-img', [
      'convert',
      '-U',
      '-f',
      this.vm.disks[lun]?.format ?? 'qcow2',
      '-O',
      'raw',
      path,
      plain,
    ])
    return readFile(plain)
  }

  async assertRestores(point: PointRecord, lun: number, expected: Buffer): Promise<void> {
    const disk = point.disks.find((one) => one.lun === lun)
    assert(disk)
    const target = new MemoryDevice(disk.virtualSizeBytes)
    await restoreDisk(this.repository, disk, { opened: target }, { store: this.store, clock: systemClock })
    const restored = Buffer.alloc(disk.virtualSizeBytes)
    await target.read(0, restored)
    assert.ok(restored.equals(expected), `disk ${lun} comes back as it was`)
  }
}
