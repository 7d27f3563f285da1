import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { KIB, ManualClock, MIB, SeededRandom } from '#base'
import { MemoryDevice } from '#engine/block'
import { backUp } from '#engine/transfer'
import { openStore, parseStoreLocation, Repository } from '#engine/repository'
import { systemClock } from '#runtime'
import type { RepositoryHost } from '../../repository-access.ts'
import { openMachineHost } from '../../compute/machine/machine-host.ts'
import { Hydrations, type InstantDisks } from './hydrations.ts'

const KEY = new Uint8Array(32).fill(7)

/** A vault's repository with one point, and what a restore of its disk asks for. */
async function given(folder: string): Promise<{ host: RepositoryHost; wanted: InstantDisks }> {
  const random = new SeededRandom(3)
  const host = { clock: new ManualClock(), random, cacheFolder: join(folder, 'cache'), writer: 'test' }
  const keyPath = join(folder, 'key')
  await writeFile(keyPath, KEY)
  const location = join(folder, 'store')
  const store = await openStore(parseStoreLocation(location), { create: true })
  const credential = { kind: 'key-file', bytes: KEY } as const
  await Repository.init(store, { credential, chunkSizeBytes: 64 * KIB }, host)
  const repository = await Repository.open(store, credential, host)
  const opened = MemoryDevice.from(random.bytes(MIB))
  const disk = { id: 'disk-1', lun: 0, format: 'raw', sizeBytes: MIB, source: { opened } }
  const point = await backUp(
    repository,
    {
      machine: 'web1',
      takenAtMs: 1,
      consistency: 'crash',
      notes: [],
      disks: [{ ...disk, changes: { kind: 'all', reason: 'first_backup' } }],
    },
    { store, clock: host.clock, random, writer: 'test' },
  )
  await repository.close()
  const pool = join(folder, 'pool')
  await mkdir(pool)
  const wanted: InstantDisks = {
    key: 'restore-1',
    place: {
      side: 'vault',
      point: point.id,
      access: { store: location, credential: { kind: 'key-file', path: keyPath } },
    },
    socketPath: join(folder, 's'),
    pool: { path: pool, reserveBytes: Number.MAX_SAFE_INTEGER },
    disks: [{ diskId: 'disk-1', exportName: 'd0', file: join(pool, 'd.qcow2') }],
  }
  return { host, wanted }
}

test('a machine that runs on its vault is served again by the next worker, however full its pool is by now', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hfi-'))
  try {
    const { host, wanted } = await given(folder)
    const machines = openMachineHost({ ...host, clock: systemClock, stateFolder: join(folder, 'state') })
    const first = new Hydrations(host, machines)
    await assert.rejects(first.makeOverlays(wanted, 1), { code: 'pool_full' }, 'what is new is refused')
    await first.release(wanted.key)

    await writeFile(wanted.disks[0]?.file ?? '', 'an overlay that is there')
    const next = new Hydrations(host, machines)
    await next.makeOverlays(wanted, 2)
    await next.release(wanted.key)
    await next.release(wanted.key) // who is not served is let be
  } finally {
    await rm(folder, { recursive: true })
  }
})
