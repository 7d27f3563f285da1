import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { MIB, must } from '#base'
import { FaultyStore, Repository } from '#engine/repository'
import { backUpBytes, clock, credential, environmentOf, freshRepository, removeFolders, stamp } from './backup.rig.ts'
import { verifyWithKey } from './verify.ts'

after(removeFolders)

test('A point that another session of this process commits while verify reads the index is no damage', async () => {
  const { repository: writer, store } = await freshRepository()
  const bytes = new Uint8Array(2 * MIB)
  stamp(bytes, 0, MIB, 1)
  let point = await backUpBytes(writer, store, bytes, { kind: 'all', reason: 'first_backup' })
  const slow = new FaultyStore(store, clock)
  const repository = await Repository.open(slow, credential, await environmentOf())
  // The tables of the first pack and then of the second, which the index takes in, one after the other.
  const delayed = { kind: 'delayed', ms: 10 } as const
  slow.failNext('getRange', delayed, delayed)
  const verifying = verifyWithKey(repository, { store })
  for (const version of [2, 3]) {
    while (clock.sleeping === 0) await new Promise((resolve) => setImmediate(resolve))
    stamp(bytes, MIB, MIB, version)
    const parent = must(point.disks[0], 'One disk')
    const changes = { kind: 'since', dirty: [{ offset: MIB, length: MIB }], parent } as const
    point = await backUpBytes(writer, store, bytes, changes, point.id)
    await repository.log.refresh()
    clock.advance(10)
  }
  assert.deepEqual((await verifying).damage, [])
  assert.equal(repository.points().length, 3)
})
