import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { KIB, MIB, toHex } from '#base'
import { systemRandom } from '#runtime'
import { InstantBroker, type MachineStatus, type TrackingRequest } from '#engine/hypervisor'
import { BlankMachine, until } from './blank-machine.ts'

let machine: BlankMachine | undefined

async function begin(waitMs = 10_000): Promise<{ vm: BlankMachine; broker: InstantBroker; status: MachineStatus }> {
  const vm = await BlankMachine.create([{}])
  machine = vm
  const [instant, rescue, control] = ['instant', 'rescue', 'test'].map((name) => join(vm.folder, `${name}.qmp`))
  const status: MachineStatus = {
    machine: vm.describe(),
    power: 'running',
    attachments: [],
    notes: [],
    sockets: { instant: instant ?? '', rescue: rescue ?? '', control: control ?? '' },
  }
  return { vm, broker: new InstantBroker({ host: vm.host(), waitMs }), status }
}

function track(committed?: string): TrackingRequest & { next: string } {
  const next = toHex(systemRandom.bytes(6))
  return { tracker: 'a1b2c3d4', next, committed: { 'disk-0': committed }, granularityBytes: 64 * KIB }
}

describe('InstantBroker', () => {
  afterEach(async () => {
    await machine?.remove()
    machine = undefined
  })

  it('gives those who ask together one instant, and closes it when the last lets go', async () => {
    const { vm, broker, status } = await begin()
    const graph = await vm.graph()
    const options = { consistency: 'crash', tracking: track() } as const
    const [one, two] = await Promise.all([
      broker.openInstant(status, options),
      broker.openInstant(status, options, 'snapshot'),
    ])
    assert.equal(one.id, two.id)
    assert.ok(await broker.isInstantOpen(status.machine))
    await one.commit()
    await two.check()
    await two.abort('it was a snapshot only')
    await one.commit()
    assert.ok(!(await broker.isInstantOpen(status.machine)))
    assert.deepEqual(await vm.graph(), graph)
    assert.deepEqual(await vm.bitmaps(0), [`hf-a1b2c3d4-${options.tracking.next}+`])
  })

  it('lets others wait for the open one, in this process or another, and then have their own', async () => {
    const { vm, broker, status } = await begin()
    const elsewhere = new InstantBroker({ host: vm.host() })
    const first = await broker.openInstant(status, { consistency: 'crash' })
    const second = broker.openInstant(status, { consistency: 'crash' }, 'snapshot')
    const third = elsewhere.openInstant(status, { consistency: 'crash' }, 'replication')
    assert.ok(await elsewhere.isInstantOpen(status.machine))
    await first.commit()
    const winner = await Promise.race([second, third])
    assert.notEqual(winner.id, first.id)
    assert.equal((await readdir(vm.host().journalFolder)).length, 1)
    await winner.commit()
    const [two, three] = await Promise.all([second, third])
    assert.notEqual(two.id, three.id)
    await Promise.all([two.commit(), three.commit()])
  })

  it('gives up waiting and says for what', async () => {
    const { broker, status } = await begin(200)
    const first = await broker.openInstant(status, { consistency: 'crash' })
    await assert.rejects(broker.openInstant(status, { consistency: 'crash' }), { code: 'instant_open' })
    await assert.rejects(
      broker.during(status.machine, 'resize', () => Promise.resolve()),
      { code: 'instant_open' },
    )
    await first.abort('done')
  })

  it('lets a resize wait for the instant and the instant for the resize', async () => {
    const { vm, broker, status } = await begin()
    const first = await broker.openInstant(status, { consistency: 'crash' })
    let resized = false
    const hold = Promise.withResolvers<void>()
    const resizing = broker.during(status.machine, 'resize', async () => {
      await vm.qmp.execute('block_resize', { 'node-name': 'disk0', size: 8 * MIB })
      resized = true
      await hold.promise
    })
    assert.equal(resized, false)
    await first.commit()
    await until('the disk is resized', () => Promise.resolve(resized))
    const next = broker.openInstant(status, { consistency: 'crash' })
    hold.resolve()
    await resizing
    assert.equal((await next).disks[0]?.sizeBytes, 8 * MIB)
    await (await next).commit()
  })

  it('breaks an instant off for a stop, keeping its tracking, and reads the stopped machine next', async () => {
    const { vm, broker, status } = await begin()
    const base = track()
    await (await broker.openInstant(status, { consistency: 'crash', tracking: base })).commit()
    await vm.write(0, MIB, 512)
    const open = await broker.openInstant(status, { consistency: 'crash', tracking: track(base.next) })
    await broker.during(status.machine, 'stop', () => vm.stop())
    await assert.rejects(open.check(), { code: 'instant_broken' })
    await assert.rejects(open.commit(), { code: 'instant_broken' })
    const { sockets: _, ...rest } = status
    const stopped: MachineStatus = { ...rest, power: 'stopped' }
    const offline = await broker.openInstant(stopped, { consistency: 'filesystem', tracking: track(base.next) })
    assert.deepEqual(offline.disks[0]?.changes, { kind: 'since', generation: base.next })
    assert.equal(offline.consistency, 'filesystem')
    await offline.abort('seen')
    assert.deepEqual(await readdir(vm.host().journalFolder), [])
  })
})
