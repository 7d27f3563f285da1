/** Protection groups over the API: machines of a vault that are backed up at one instant, whichever of them is asked for. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { BlankMachine } from '../hypervisor/blank-machine.ts'
import { followed, VERSION } from './api-world.ts'
import { type Failure, type Listed, type Point, ProtectionWorld } from './protection-world.ts'
import { type Operation, SnapshotWorld } from './snapshot-world.ts'

type Group = {
  id: string
  name: string
  properties: { items: string[]; policyId: string; lastInstant?: { instant: string; time: string; skewMs: number } }
}
type OfGroup = Point & {
  properties: { holdfast: { group?: { name: string; instant: string; skewMs: number; machines: string[] } } }
}

const NAMES = ['m1', 'm2', 'm3'] as const

let own: SnapshotWorld
let world: ProtectionWorld
let machines: BlankMachine[] = []

const groupUrl = (name: string, more = ''): string => world.url(`${world.vault}/protectionGroups/${name}${more}`)
const put = (name: string, items: readonly string[]) =>
  world.ask<Group & Failure>('PUT', groupUrl(name), { properties: { items: items.map((one) => world.item(one)) } })

async function newestOf(name: string): Promise<OfGroup> {
  const [point] = (await world.points(name)) as OfGroup[]
  assert.ok(point !== undefined, `${name} has a point`)
  return point
}

before(async () => {
  own = await SnapshotWorld.make()
  machines = await Promise.all(NAMES.map(() => BlankMachine.create([{}])))
  for (const [i, name] of NAMES.entries()) {
    const url = `${own.group}/providers/Microsoft.Compute/virtualMachines/${name}`
    const answer = await own.ask('POST', `${url}/adopt?${VERSION}`, {
      location: 'eastus',
      qmp: join(machines[i]?.folder ?? '', 'instant.qmp'),
      osType: 'Linux',
    })
    assert.equal(answer.status, 202, answer.text)
    const ended = await followed<Operation>(own.ask, answer)
    assert.equal(ended.body.status, 'Succeeded', ended.text)
  }
  world = new ProtectionWorld(own.world, own.ask)
  await world.makeVault()
  for (const name of NAMES) await world.protect(name)
})
after(async () => {
  await own[Symbol.asyncDispose]()
  for (const machine of machines) await machine.remove()
})

test('A group is made of items of one policy, shown, listed, changed; what cannot be is refused and changes nothing', async () => {
  const made = await put('shop', ['m1', 'm2'])
  assert.equal(made.status, 201, made.text)
  assert.deepEqual(made.body.properties.items.map((id) => id.toLowerCase()).sort(), [
    world.item('m1').toLowerCase(),
    world.item('m2').toLowerCase(),
  ])
  assert.equal((await put('shop', ['m1', 'm2'])).status, 200)
  for (const [name, items, code] of [
    ['shop', ['m1'], 'InvalidParameter'],
    ['shop', ['m1', 'nobody'], 'InvalidParameter'],
    ['other', ['m2', 'm3'], 'Conflict'],
    ['b%20d', ['m1', 'm3'], 'InvalidResourceName'],
  ] as const) {
    const refused = await put(name, items)
    assert.equal(refused.body.error.code, code, refused.text)
  }
  const all = await world.ask<Listed<Group>>('GET', world.url(`${world.vault}/protectionGroups`))
  assert.deepEqual(
    all.body.value.map(({ name, properties }) => [name, properties.items.length]),
    [['shop', 2]],
  )
  assert.equal((await world.ask('GET', groupUrl('nobody'))).status, 404)
})

test('A backup of one item is one of all in its group, at one instant; another machine is left alone', async () => {
  for (const machine of machines) await machine.write(0, 4096, 64 * 1024)
  const job = await world.backup('m1')
  assert.equal(job.properties.extendedInfo.propertyBag['Protection group'], 'shop')
  const [first, second] = [await newestOf('m1'), await newestOf('m2')]
  const { group } = first.properties.holdfast
  assert.ok(group !== undefined)
  assert.deepEqual(second.properties.holdfast.group, group)
  assert.deepEqual(group.machines, ['rg1/m1', 'rg1/m2'])
  assert.equal(first.properties.recoveryPointTime, second.properties.recoveryPointTime)
  assert.deepEqual(await world.points('m3'), [])
  for (const [i, point] of [first, second].entries()) {
    const record = await world.recordOf(point)
    const bytes = await world.bytesOf(point, record.disks[0]?.id ?? '')
    assert.ok(machines[i]?.model[0]?.equals(bytes), `every byte of m${i + 1}`)
  }
  for (const name of ['m1', 'm2'])
    assert.equal((await world.show(name)).properties.protectionState, 'Protected', `${name} was backed up`)
  const shown = await world.ask<Group>('GET', groupUrl('shop'))
  assert.equal(shown.body.properties.lastInstant?.instant, group.instant)
})

test('The group itself can be backed up; while it is, none of its items is backed up by itself', async () => {
  const begun = await world.ask('POST', groupUrl('shop', '/backup'), {
    properties: { objectType: 'IaasVMBackupRequest' },
  })
  assert.equal(begun.status, 202, begun.text)
  const beside = await world.ask<Failure>('POST', world.url(`${world.item('m2')}/backup`), {
    properties: { objectType: 'IaasVMBackupRequest' },
  })
  // It may be over already; then this is the next backup of both.
  if (beside.status === 409 || beside.status === 400)
    assert.equal(beside.body.error.code, 'UserErrorBackupOperationInProgress')
  await world.ended(await world.jobOf(begun))
  if (beside.status === 202) await world.ended(await world.jobOf(beside))
  const [first, second] = [await newestOf('m1'), await newestOf('m2')]
  assert.equal(first.properties.holdfast.group?.instant, second.properties.holdfast.group?.instant)
  assert.equal(first.properties.holdfast.mode, 'incremental')
})

test('A machine of the group that cannot be taken leaves no point of the others', async () => {
  const before = (await world.points('m1')).length
  await machines[1]?.kill()
  await machines[1]?.write(0, 0, 512).catch(() => undefined)
  const image = machines[1]?.pathOf(0) ?? ''
  const { rename } = await import('node:fs/promises')
  await rename(image, `${image}.away`)
  const begun = await world.jobOf(await world.beginBackup('m1'))
  await world.ask('POST', world.url(`${world.vault}/backupJobs/${begun.name}/cancel`))
  const ended = await world.ended(begun)
  assert.match(ended.properties.status, /^(Cancelled|Failed)$/)
  assert.equal((await world.points('m1')).length, before)
  await rename(`${image}.away`, image)
})

test('Without the group each machine is backed up by itself again', async () => {
  assert.equal((await world.ask('DELETE', groupUrl('shop'))).status, 200)
  assert.equal((await world.ask('DELETE', groupUrl('shop'))).status, 204)
  const before = (await world.points('m2')).length
  await world.backup('m1')
  assert.equal((await newestOf('m1')).properties.holdfast.group, undefined)
  assert.equal((await world.points('m2')).length, before)
})
