import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError, type Progress } from '#base'
import type { TaskContext, TaskHandler } from '#jobs'
import { silentLogger } from '#runtime'
import { type TaskRequest, TaskTable } from './task-table.ts'

class Broken extends HoldfastError {}

/** A table with one task that stays until it is let go; every begin is kept with its context. */
function openTable(atOnceMax?: number) {
  const begun: TaskContext[] = []
  const gates: PromiseWithResolvers<unknown>[] = []
  const hold: TaskHandler = (_input, context) => {
    const gate = Promise.withResolvers<unknown>()
    begun.push(context)
    gates.push(gate)
    context.signal.addEventListener('abort', () => gate.reject(context.signal.reason))
    return gate.promise
  }
  return { table: new TaskTable(new Map([['hold', hold]]), silentLogger, atOnceMax), begun, gates }
}

function ask(epoch: number, input: unknown = { disk: 0 }): TaskRequest {
  return { key: { job: 'j', step: 's', epoch }, task: 'hold', input }
}

const silent = (): void => {}

test('a request that is sent again attaches to the running task, and later gets its result', async () => {
  const { table, begun, gates } = openTable()
  const first = table.run(ask(1), silent)
  const second = table.run(ask(1), silent)
  gates[0]?.resolve({ points: 1 })
  assert.deepEqual(await Promise.all([first, second, table.run(ask(1), silent)]), [
    { points: 1 },
    { points: 1 },
    { points: 1 },
  ])
  assert.equal(begun.length, 1)
})

test('a greater epoch adopts the running task, whose fencing token grows; the smaller one is refused from then on', async () => {
  const { table, begun, gates } = openTable()
  const first = table.run(ask(1), silent)
  const adopted = table.run(ask(4), silent)
  assert.equal(begun[0]?.epoch(), 4)
  await assert.rejects(table.run(ask(3), silent), { code: 'task_fenced' })
  assert.throws(() => table.cancel(ask(3).key, 'late'), { code: 'task_fenced' })
  gates[0]?.resolve('done')
  assert.deepEqual(await Promise.all([first, adopted]), ['done', 'done'])
  assert.throws(() => table.acknowledge(ask(1).key), { code: 'task_fenced' })
  assert.equal(begun.length, 1)
})

test('a result is kept until it is acknowledged, and given to a greater epoch', async () => {
  const { table, begun, gates } = openTable()
  const first = table.run(ask(1), silent)
  gates[0]?.resolve('done')
  await first
  assert.equal(await table.run(ask(2), silent), 'done')
  assert.deepEqual(
    table.list().map(({ status, key }) => [status, key.epoch]),
    [['succeeded', 2]],
  )
  table.acknowledge(ask(2).key)
  assert.deepEqual(table.list(), [])
  assert.equal(begun.length, 1)
})

test('a failure is given again to the same epoch; a greater one begins again', async () => {
  const { table, begun, gates } = openTable()
  const first = table.run(ask(1), silent)
  gates[0]?.reject(new Broken('store_unavailable', 'The store did not answer.', { retry: 'later' }))
  await assert.rejects(first, { code: 'store_unavailable', retry: 'later' })
  await assert.rejects(table.run(ask(1), silent), { code: 'store_unavailable' })
  const second = table.run(ask(2), silent)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(begun.length, 2)
  gates[1]?.resolve('done')
  assert.equal(await second, 'done')
})

test('a greater epoch with another input begins again once the old task has stopped', async () => {
  const { table, begun, gates } = openTable()
  const first = table.run(ask(1, { disk: 0 }), silent)
  const second = table.run(ask(2, { disk: 1 }), silent)
  await assert.rejects(first, { code: 'cancelled' })
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(begun.length, 2)
  gates[1]?.resolve('of disk 1')
  assert.equal(await second, 'of disk 1')
})

test('two newer attempts at once leave one task, that of the newest', async () => {
  const { table, begun, gates } = openTable()
  const first = table.run(ask(1, 'a'), silent)
  const second = table.run(ask(2, 'b'), silent)
  const third = table.run(ask(3, 'c'), silent)
  await assert.rejects(first, { code: 'cancelled' })
  await assert.rejects(second, { code: 'task_fenced' })
  assert.equal(begun.length, 2)
  gates[1]?.resolve('of the third')
  assert.equal(await third, 'of the third')
})

test('an attempt that is cancelled while it waits for the one before it does not begin', async () => {
  const { table, begun } = openTable()
  const first = table.run(ask(1, 'a'), silent)
  const second = table.run(ask(2, 'b'), silent)
  assert.equal(table.cancel(ask(2).key, 'wrong machine'), true)
  await assert.rejects(first, { code: 'cancelled' })
  await assert.rejects(second, { code: 'cancelled' })
  assert.equal(begun.length, 1)
})

test('a cancelled task is told; it is not cancelled twice, nor after its end', async () => {
  const { table, gates } = openTable()
  const first = table.run(ask(1), silent)
  assert.equal(table.cancel(ask(1).key, 'wrong machine'), true)
  await assert.rejects(first, { code: 'cancelled', facts: { reason: 'wrong machine' } })
  assert.equal(table.cancel(ask(1).key, 'again'), false)
  assert.equal(table.cancel({ job: 'x', step: 's', epoch: 1 }, 'unknown'), false)
  gates[0]?.resolve(null)
})

test('whoever attaches late hears the newest progress at once', async () => {
  const { table, begun, gates } = openTable()
  const heard: Progress[] = []
  const first = table.run(ask(1), silent)
  const progress = { task: 'Reading disk 0', doneBytes: 512, totalBytes: 1024 }
  begun[0]?.progress(progress)
  const second = table.run(ask(1), (each) => void heard.push(each as Progress))
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(heard, [progress])
  gates[0]?.resolve(null)
  await Promise.all([first, second])
})

test('a task that waits for its milestone goes on when it is recorded, by whichever attempt; not once it is cancelled', async () => {
  const { table, begun, gates } = openTable()
  const first = table.run(ask(1), silent)
  begun[0]?.milestone('begun', {})
  const waits = begun[0]?.recorded('begun')
  const adopted = table.run(ask(2), silent)
  assert.throws(() => table.recorded(ask(1).key, 'begun'), { code: 'task_fenced' })
  assert.equal(await Promise.race([waits, new Promise((resolve) => setImmediate(() => resolve('waits')))]), 'waits')
  table.recorded(ask(2).key, 'begun')
  await waits
  await begun[0]?.recorded('begun')
  const never = assert.rejects(async () => begun[0]?.recorded('other'), { code: 'cancelled' })
  table.cancel(ask(2).key, 'enough')
  await never
  gates[0]?.resolve('done')
  await assert.rejects(Promise.all([first, adopted]), { code: 'cancelled' })
})

test('a milestone is told to who listens and to who attaches later; a task knows what was recorded before it began', async () => {
  const { table, begun, gates } = openTable()
  const heard: unknown[] = []
  const first = table.run(ask(1), (each) => void heard.push(each))
  const milestone = { name: 'instant', facts: { takenAtMs: 7 } }
  begun[0]?.milestone(milestone.name, milestone.facts)
  const second = table.run(ask(2), (each) => void heard.push(each))
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(heard, [{ milestone }, { milestone }])
  assert.deepEqual([...(begun[0]?.reached ?? [])], [])
  gates[0]?.reject(new Broken('store_unavailable', 'The store did not answer.', { retry: 'later' }))
  await Promise.all([assert.rejects(first), assert.rejects(second)])
  const third = table.run({ ...ask(3), reached: ['instant'] }, silent)
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual([...(begun[1]?.reached ?? [])], ['instant'])
  gates[1]?.resolve(null)
  await third
})

test('an unknown task is refused, and a retiring worker takes no new one but answers for the old', async () => {
  const { table, gates } = openTable()
  await assert.rejects(table.run({ ...ask(1), task: 'nothing' }, silent), { code: 'task_unknown' })
  const first = table.run(ask(1), silent)
  table.retire()
  await assert.rejects(table.run({ ...ask(1), key: { job: 'j2', step: 's', epoch: 1 } }, silent), {
    code: 'worker_retiring',
  })
  const again = table.run(ask(1), silent)
  gates[0]?.resolve('done')
  assert.deepEqual(await Promise.all([first, again]), ['done', 'done'])
})

test('no more tasks run at once than are allowed; the next begins when one ends, and a waiting one can be cancelled', async () => {
  const { table, begun, gates } = openTable(2)
  const request = (job: string): TaskRequest => ({ ...ask(1), key: { job, step: 's', epoch: 1 } })
  const runs = ['a', 'b', 'c', 'd'].map((job) => table.run(request(job), silent))
  const jobs = (): string[] => begun.map(({ key }) => key.job)
  assert.deepEqual(jobs(), ['a', 'b'])
  assert.equal(table.cancel(request('c').key, 'not wanted'), true)
  await assert.rejects(runs[2] ?? Promise.resolve(), { code: 'cancelled' })
  gates[1]?.resolve('of b')
  assert.equal(await runs[1], 'of b')
  assert.deepEqual(jobs(), ['a', 'b', 'd'], 'c, which was cancelled, never began')
  gates[0]?.resolve('of a')
  gates[2]?.resolve('of d')
  assert.deepEqual(await Promise.all([runs[0], runs[3]]), ['of a', 'of d'])
  const last = table.run(request('e'), silent)
  assert.equal(jobs().at(-1), 'e', 'places come free again')
  gates[3]?.resolve('of e')
  assert.equal(await last, 'of e')
})
