/** The worker's RPC methods; parameters from the wire are checked here. */
import type { TaskKey } from '#jobs'
import type { RpcMethods } from '#runtime'
import { ServerError } from '../errors.ts'
import { parameterReader } from '../parameters.ts'
import type { TaskTable } from './task-table.ts'

function invalid(what: string): ServerError {
  return new ServerError('task_invalid', `The request has no valid ${what}.`, { facts: { what } })
}

const { fields: objectOf, text: textOf } = parameterReader(invalid)

function boundOf(value: unknown, what: string, min: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min) return value
  throw invalid(what)
}

/** @throws ServerError `task_invalid` */
export function readKey(params: unknown): TaskKey {
  const { key } = objectOf(params)
  const { job, step, epoch } = objectOf(key)
  if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch) || epoch < 0) throw invalid('epoch')
  return { job: textOf(job, 'job'), step: textOf(step, 'step'), epoch }
}

/**
 * `task.run` {key, task, input, reached} → result, with progress and milestones as events; `task.cancel` {key, reason} → boolean;
 * `task.recorded` {key, milestone}; `task.acknowledge` {key}; `task.list` → TaskView[]; `worker.status`; `worker.retire`;
 * `worker.configure` {tasksAtOnce, bytesPerSecond}: holds until it is told otherwise.
 */
export function taskMethods(
  tasks: TaskTable,
  setRate: (bytesPerSecond: number) => void,
): Readonly<{ methods: RpcMethods; retired: Promise<void> }> {
  const retired = Promise.withResolvers<void>()
  let retiring = false
  const look = (): void => {
    if (retiring && tasks.running === 0) retired.resolve()
  }
  const methods: RpcMethods = {
    'task.run': async (params, call) => {
      const { task, input, reached = [] } = objectOf(params)
      const known = Array.isArray(reached) ? reached.filter((name) => typeof name === 'string') : []
      const request = { key: readKey(params), task: textOf(task, 'task'), input: input ?? null, reached: known }
      try {
        return await tasks.run(request, (news) => call.event(news))
      } finally {
        look()
      }
    },
    'task.cancel': (params) => tasks.cancel(readKey(params), textOf(objectOf(params)['reason'], 'reason')),
    'task.recorded': (params) => tasks.recorded(readKey(params), textOf(objectOf(params)['milestone'], 'milestone')),
    'task.acknowledge': (params) => tasks.acknowledge(readKey(params)),
    'task.list': () => tasks.list(),
    'worker.status': () => ({ retiring, running: tasks.running, kept: tasks.list().length }),
    'worker.configure': (params) => {
      const { tasksAtOnce, bytesPerSecond } = objectOf(params)
      tasks.limit(boundOf(tasksAtOnce, 'tasksAtOnce', 1))
      setRate(boundOf(bytesPerSecond, 'bytesPerSecond', 0))
    },
    'worker.retire': () => {
      retiring = true
      tasks.retire()
      setImmediate(look) // The answer goes out first.
    },
  }
  return { methods, retired: retired.promise }
}
