/**
 * What Holdfast asks of a guest through its agent. Shapes follow qga/qapi-schema.json; what an agent leaves out is
 * undefined, never invented.
 */
import { BaseError, type Clock, isHoldfastError } from '#base'
import { HypervisorError } from '../errors.ts'
import { isObject, type JsonObject, textOr } from '../qmp/shape.ts'
import type { AgentClient, CommandTimeout } from './client.ts'

export type GuestOs = Readonly<{
  id: string
  prettyName: string
  versionId: string
  kernelRelease: string
  machine: string
}>
export type GuestFileSystem = Readonly<{
  name: string
  mountpoint: string
  type: string
  usedBytes: number | undefined
  totalBytes: number | undefined
  /** Serials of the disks that it lies on, as the guest sees them. */
  diskSerials: readonly string[]
}>
export type GuestAddress = Readonly<{ interface: string; mac: string; addresses: readonly string[] }>
export type GuestExecRequest = Readonly<{
  path: string
  args?: readonly string[]
  env?: readonly string[]
  input?: Uint8Array
  timeoutMs: number
}>
export type GuestExecResult = Readonly<{ exitCode: number; stdout: Buffer; stderr: Buffer; truncated: boolean }>

/** Writing back a busy guest's dirty pages is part of freezing; hooks (a database's checkpoint) come on top. */
export const FREEZE_MS_DEFAULT = 30_000
const THAW_MS_DEFAULT = 10_000
const EXEC_POLL_MS = 50
const EXEC_POLL_MS_MAX = 500

function objectsOf(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

function countOf(value: unknown, command: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value
  throw new HypervisorError('agent_command_failed', `The guest agent answered ${command} with no number.`, {
    facts: { command },
  })
}

/**
 * Freezes all file systems (or those of `mountpoints`), running the guest's hooks first. Returns how many were frozen.
 * @throws `freeze_failed` when a hook or the freeze itself failed, `timed_out` when it may still happen: thaw then as well.
 */
export async function freezeGuest(
  agent: AgentClient,
  options: CommandTimeout & Readonly<{ mountpoints?: readonly string[] }> = {},
): Promise<number> {
  const timeoutMs = options.timeoutMs ?? FREEZE_MS_DEFAULT
  const name = options.mountpoints === undefined ? 'guest-fsfreeze-freeze' : 'guest-fsfreeze-freeze-list'
  const args = options.mountpoints === undefined ? {} : { mountpoints: options.mountpoints }
  try {
    return countOf(await agent.command(name, args, { timeoutMs }), name)
  } catch (error) {
    if (!(error instanceof HypervisorError) || error.code !== 'agent_command_failed') throw error
    throw new HypervisorError('freeze_failed', 'The guest could not freeze its file systems.', {
      facts: error.facts,
      retry: 'later',
      hint: 'Look at the freeze hook in the guest (/etc/qemu/fsfreeze-hook) and at its log.',
      cause: error,
    })
  }
}

/**
 * Has the guest write back what its file systems hold in memory, so that the freeze, which would, is short. Nothing comes of
 * it where the guest has no `sync` or its agent may run no programs; then the freeze takes what it takes.
 */
export async function writeBackGuest(agent: AgentClient, clock: Clock, timeoutMs: number): Promise<void> {
  try {
    await guestExec(agent, clock, { path: 'sync', timeoutMs })
  } catch (error) {
    if (!isHoldfastError(error, 'agent_command_failed', 'timed_out')) throw error
  }
}

/** Thaws everything. Returns how many file systems were thawed: 0 when none was frozen. */
export async function thawGuest(agent: AgentClient, options: CommandTimeout = {}): Promise<number> {
  const timeoutMs = options.timeoutMs ?? THAW_MS_DEFAULT
  return countOf(await agent.command('guest-fsfreeze-thaw', {}, { timeoutMs }), 'guest-fsfreeze-thaw')
}

export async function isGuestFrozen(agent: AgentClient): Promise<boolean> {
  return (await agent.command('guest-fsfreeze-status')) === 'frozen'
}

/** Begins a program in the guest; its process id there. It goes on whatever becomes of this conversation. */
export async function beginGuestExec(
  agent: AgentClient,
  request: Omit<GuestExecRequest, 'timeoutMs'>,
): Promise<number> {
  const started = await agent.command('guest-exec', {
    path: request.path,
    arg: request.args ?? [],
    'capture-output': true,
    ...(request.env === undefined ? {} : { env: request.env }),
    ...(request.input === undefined ? {} : { 'input-data': Buffer.from(request.input).toString('base64') }),
  })
  return countOf(isObject(started) ? started['pid'] : undefined, 'guest-exec')
}

/** How a program ended that was begun; undefined while it runs. The agent forgets it once it has told its end. */
export async function pollGuestExec(agent: AgentClient, pid: number): Promise<GuestExecResult | undefined> {
  const status = await agent.command('guest-exec-status', { pid })
  return isObject(status) && status['exited'] === true ? execResult(status) : undefined
}

/** Runs a program in the guest and waits for its end. @throws `timed_out`; the program goes on in the guest then. */
export async function guestExec(agent: AgentClient, clock: Clock, request: GuestExecRequest): Promise<GuestExecResult> {
  const endMs = clock.monotonicMs() + request.timeoutMs
  const pid = await beginGuestExec(agent, request)
  for (let pollMs = EXEC_POLL_MS; ; pollMs = Math.min(pollMs * 2, EXEC_POLL_MS_MAX)) {
    const ended = await pollGuestExec(agent, pid)
    if (ended !== undefined) return ended
    if (clock.monotonicMs() >= endMs) {
      const facts = { path: request.path, pid, timeoutMs: request.timeoutMs }
      throw new BaseError('timed_out', `${request.path} did not end in the guest in time.`, { facts, retry: 'later' })
    }
    await clock.sleep(pollMs)
  }
}

/** `exitcode` is absent when a signal ended the program: reported as 128 + signal, as shells do. */
function execResult(status: JsonObject): GuestExecResult {
  const signal = status['signal']
  const exitCode = typeof status['exitcode'] === 'number' ? status['exitcode'] : undefined
  return {
    exitCode: exitCode ?? 128 + (typeof signal === 'number' ? signal : 0),
    stdout: Buffer.from(textOr(status['out-data'], ''), 'base64'),
    stderr: Buffer.from(textOr(status['err-data'], ''), 'base64'),
    truncated: status['out-truncated'] === true || status['err-truncated'] === true,
  }
}

export async function guestOs(agent: AgentClient): Promise<GuestOs> {
  const info = await agent.command('guest-get-osinfo')
  const os = isObject(info) ? info : {}
  return {
    id: textOr(os['id'], ''),
    prettyName: textOr(os['pretty-name'], ''),
    versionId: textOr(os['version-id'], ''),
    kernelRelease: textOr(os['kernel-release'], ''),
    machine: textOr(os['machine'], ''),
  }
}

export async function guestFileSystems(agent: AgentClient): Promise<GuestFileSystem[]> {
  return objectsOf(await agent.command('guest-get-fsinfo')).map((fs) => ({
    name: textOr(fs['name'], ''),
    mountpoint: textOr(fs['mountpoint'], ''),
    type: textOr(fs['type'], ''),
    usedBytes: typeof fs['used-bytes'] === 'number' ? fs['used-bytes'] : undefined,
    totalBytes: typeof fs['total-bytes'] === 'number' ? fs['total-bytes'] : undefined,
    diskSerials: objectsOf(fs['disk'])
      .map((disk) => textOr(disk['serial'], ''))
      .filter((serial) => serial !== ''),
  }))
}

/** Addresses per network interface, "10.0.2.15/24". */
export async function guestAddresses(agent: AgentClient): Promise<GuestAddress[]> {
  return objectsOf(await agent.command('guest-network-get-interfaces')).map((network) => ({
    interface: textOr(network['name'], ''),
    mac: textOr(network['hardware-address'], ''),
    addresses: objectsOf(network['ip-addresses']).map(
      (one) => `${textOr(one['ip-address'], '')}/${typeof one['prefix'] === 'number' ? one['prefix'] : 0}`,
    ),
  }))
}

/** Asks the guest to power down, halt or reboot. The agent does not answer when it works. */
export async function shutDownGuest(agent: AgentClient, mode: 'powerdown' | 'halt' | 'reboot'): Promise<void> {
  await agent.commandWithoutAnswer('guest-shutdown', { mode })
}
