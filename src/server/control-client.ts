/** The way to a running `serve`: its socket in the home. */
import { type Clock, isHoldfastError, PROGRAM_VERSION } from '#base'
import { processState, type ProcessIdentity, RpcClient, type RpcCallOptions } from '#runtime'
import { ServerError } from './errors.ts'
import type { Home } from './home.ts'
import type { Health } from './serve.ts'
import { isIdentity } from './start-process.ts'

export type ControlClient = Readonly<{
  /** The serving process; undefined when it did not say. */
  identity: ProcessIdentity | undefined
  call: (method: string, params?: unknown, options?: RpcCallOptions) => Promise<unknown>
  close: () => void
}>

const STOP_MS_MAX = 60_000
const STOP_POLL_MS = 50

/** @throws ServerError `serve_not_running`, RpcError */
export async function openControl(home: Home): Promise<ControlClient> {
  const client = await RpcClient.open(home.socket('serve'), 'cli', PROGRAM_VERSION).catch((cause: unknown) => {
    if (!isHoldfastError(cause, 'rpc_unreachable', 'rpc_closed')) throw cause
    throw new ServerError('serve_not_running', `No server answers for the home ${home.folder}.`, {
      facts: { home: home.folder },
      retry: 'later',
      hint: 'Start it with "holdfast serve"; check --home and HOLDFAST_HOME.',
      cause,
    })
  })
  const { identity } = client.peer.facts
  return {
    identity: isIdentity(identity) ? identity : undefined,
    call: (method, params = null, options) => client.call(method, params, options),
    close: () => client.close(),
  }
}

/**
 * Ends the home's `serve` in order and waits until it is gone; jobs stay queued, tasks go on on the worker. Gives how it was.
 * @throws ServerError `serve_not_running`, `serve_not_stopped`
 */
export async function stopServe(home: Home, clock: Clock): Promise<Health> {
  const client = await openControl(home)
  const health = (await client.call('health')) as Health
  client.close()
  const { identity } = client
  if (identity === undefined || processState(identity) !== 'alive') throw notStopped(home)
  process.kill(identity.pid, 'SIGTERM')
  const endMs = clock.monotonicMs() + STOP_MS_MAX
  while (processState(identity) === 'alive') {
    if (clock.monotonicMs() > endMs) throw notStopped(home)
    await clock.sleep(STOP_POLL_MS)
  }
  return health
}

function notStopped(home: Home): ServerError {
  return new ServerError('serve_not_stopped', `The server of ${home.folder} did not end.`, {
    facts: { home: home.folder },
    retry: 'later',
    hint: 'It may be ending its steps: look again. Ending it hard loses nothing that a job has recorded.',
  })
}
