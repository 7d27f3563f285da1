/** A disk costs what is written to it; what a snapshot alone needs, and what deleting it frees, as figures. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { GIB, MIB } from '#base'
import { checkCommand } from '#runtime'
import { followed, VERSION } from './api-world.ts'
import { content, type Operation, SnapshotWorld } from './snapshot-world.ts'

type Usage = {
  id: string
  name: string
  properties: {
    sizeBytes: number
    usedBytes?: number
    billedGiB?: number
    ownBytes?: number
    freedBytes?: number
    measuredAt?: string
  }
}

async function usageOf(own: SnapshotWorld, name: string): Promise<Usage['properties']> {
  const { body } = await own.ask<{ value: Usage[] }>(
    'GET',
    `${own.group}/providers/Holdfast.Protection/usage?${VERSION}`,
  )
  const found = body.value.find((one) => one.name === name)
  assert.ok(found !== undefined, name)
  return found.properties
}

async function posted(own: SnapshotWorld, action: string): Promise<Operation> {
  const url = `${own.world.subscription}/providers/Holdfast.Protection/locations/eastus/${action}?${VERSION}`
  const answer = await own.ask('POST', url)
  assert.equal(answer.status, 202, answer.text)
  return (await followed<Operation>(own.ask, answer)).body
}

test('used-size billing', async (t) => {
  await using own = await SnapshotWorld.make()

  await t.test('a disk of 64 GiB costs the 10 MiB that are written to it', async () => {
    const file = join(own.world.home.folder, 'large.qcow2')
    const bytes = content(10 * MIB, 3, 1)
    const disk = { ...(await own.disk('small', 3)), file }
    await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', file, '64G'])
    const { id } = await own.record('large', { file, format: 'qcow2', sizeBytes: 64 * GIB })
    await own.write({ ...disk, content: Buffer.alloc(10 * MIB) }, 0, bytes)
    await own.made('of-large', id)
    const usage = await usageOf(own, 'of-large')
    assert.equal(usage.sizeBytes, 64 * GIB)
    assert.equal(usage.usedBytes, 10 * MIB)
    assert.equal(usage.billedGiB, 1)
    assert.equal(usage.ownBytes, undefined)
  })

  await t.test('own, and freed by deleting: what no other version names', async () => {
    const disk = await own.disk('d', 1)
    await own.made('s1', disk.id, { incremental: true })
    await own.write(disk, 0, content(MIB, 1, 2))
    await own.made('s2', disk.id, { incremental: true })
    assert.equal((await posted(own, 'measureUsage')).status, 'Succeeded')
    const [s1, s2] = [await usageOf(own, 's1'), await usageOf(own, 's2')]
    assert.equal(s1.usedBytes, 4 * MIB)
    assert.equal(s1.ownBytes, MIB)
    assert.equal(s2.ownBytes, MIB)
    // The content is random but for the head of each sector, and a node of the tree is its own as well.
    assert.ok((s1.freedBytes ?? 0) > 0.9 * MIB && (s1.freedBytes ?? 0) < 1.05 * MIB, String(s1.freedBytes))
    const image = await usageOf(own, 'd')
    assert.ok((image.usedBytes ?? 0) >= 4 * MIB && (image.usedBytes ?? 0) < 6 * MIB, String(image.usedBytes))
  })

  await t.test('deleting one makes what it shared the other’s own, and prune frees what was only its own', async () => {
    await own.deleted('s2')
    await posted(own, 'measureUsage')
    assert.equal((await usageOf(own, 's1')).ownBytes, 4 * MIB)
    await own.deleted('s1')
    const { status, properties } = await posted(own, 'prune')
    assert.equal(status, 'Succeeded')
    const [pruned] = (properties?.output ?? []) as { region: string; freedBytes: number }[]
    assert.equal(pruned?.region, 'eastus')
    assert.ok((pruned?.freedBytes ?? 0) > 4 * MIB, String(pruned?.freedBytes))
    assert.equal((await usageOf(own, 'of-large')).usedBytes, 10 * MIB)
  })
})
