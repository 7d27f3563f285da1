/**
 * The job `run-command` and its task: a script in the guest, through its agent. A script may do anything, so it is run once at most: it
 * is handed over when its step has it on record that it will be, and from then on by nobody else.
 *
 *   dies                                   what goes on
 *   serve, at any moment                   the next one attaches to the task; one that was not on record yet is recorded, then begins
 *   the worker, before it is on record     the task begins again; nothing was handed over
 *   the worker, afterwards                 the job fails (`command_lost`): whether it was handed over, and how far it came, nobody knows
 *   both, afterwards                       the same
 *
 * The script stands in a sealed order, never in the catalog; what it said, cut to its end as Azure cuts it, is the job's output.
 * The agent is held only while it is asked, so that a long script keeps no snapshot from freezing the guest.
 */
import { BaseError, type Clock, isHoldfastError } from '#base'
import { beginGuestExec, type GuestExecResult, pollGuestExec, withAgent } from '#engine/hypervisor'
import { JobsError } from '../../errors.ts'
import type { JobDefinition } from '../../port.ts'
import { inputInvalid, recordOf } from '../../repository-access.ts'
import type { TaskContext, TaskHandler } from '../../tasks.ts'
import { WORKER_RETRY } from '../create-disk.ts'
import { fewTimes } from './few-times.ts'
import type { MachineHost } from './machine-host.ts'
import { type MachineIdInput, type MachineJobParts, readIdInput } from './machine-job.ts'
import { findOwnMachine } from './machine-records.ts'

export const RUN_COMMAND_JOB = 'run-command'
export const RUN_COMMAND_TASK = 'run-machine-command'
/** From here on the script is handed to the guest. */
const BEGUN = 'script-begun'

export type RunCommandInput = MachineIdInput & Readonly<{ order: string }>
export type RunCommandOutput = Readonly<{
  value: readonly Readonly<{ code: string; level: string; displayStatus: string; message: string }>[]
}>

/** What the sealed order says. */
export type GuestScript = Readonly<{
  lines: readonly string[]
  /** Given to the script as variables, and in their order as arguments. */
  parameters: readonly Readonly<{ name: string; value: string }>[]
}>
type Script = Parameters<typeof beginGuestExec>[1]
type Ran = Readonly<{ exitCode: number; stdout: string; stderr: string }>

/** Azure ends a script after 90 minutes. */
const SCRIPT_MS_MAX = 90 * 60_000
const POLL_MS = 500
const AGENT_MS_MAX = 15_000
const AGENT_TIMES = 4
const AGENT_SILENT = ['agent_unavailable', 'agent_busy', 'agent_frozen']
/** Azure gives the last 4,096 bytes. */
const OUTPUT_BYTES_MAX = 4096

/** The script becomes a file, so that it may begin with `#!`, and reads nothing of itself from its standard input. */
const WRAPPER = `
f=$(mktemp) && cat > "$f" && chmod 700 "$f" || exit 126
IFS= read -r first < "$f"
case $first in '#!'*) "$f" "$@" ;; *) sh "$f" "$@" ;; esac < /dev/null
code=$?
rm -f "$f"
exit $code
`
/** guest-exec takes either the agent's own environment or this one. */
const PATHS = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

function lost(): JobsError {
  return new JobsError('command_lost', 'Sight of the script was lost while it ran: nobody knows how far it came.', {
    hint: 'Look in the guest. It is not run again by itself.',
  })
}

function endOf(bytes: Buffer): string {
  return bytes.subarray(Math.max(0, bytes.length - OUTPUT_BYTES_MAX)).toString('utf8')
}

async function untilOver(
  host: MachineHost,
  socket: string,
  pid: number,
  context: TaskContext,
): Promise<GuestExecResult> {
  const { clock } = host
  const endMs = clock.monotonicMs() + SCRIPT_MS_MAX
  for (;;) {
    try {
      const result = await withAgent(socket, { clock, readyTimeoutMs: AGENT_MS_MAX }, (agent) =>
        pollGuestExec(agent, pid),
      )
      if (result !== undefined) return result
    } catch (error) {
      // A snapshot freezes the guest for a moment, or another task speaks with it.
      if (!isHoldfastError(error, 'agent_frozen', 'agent_busy')) throw error
    }
    if (clock.monotonicMs() >= endMs)
      throw new BaseError('timed_out', 'The script did not end within 90 minutes.', { facts: { pid } })
    await clock.sleep(POLL_MS, context.signal)
  }
}

/** An agent that does not answer is waited for; one that has the script may have begun it, whatever it says. */
async function handOver(clock: Clock, socket: string, context: TaskContext, request: Script): Promise<number> {
  const patience = { clock, signal: context.signal, times: AGENT_TIMES, after: AGENT_SILENT }
  const isHandedOver = { yet: false }
  return fewTimes(patience, async () => {
    if (isHandedOver.yet) throw lost()
    return withAgent(socket, { clock, readyTimeoutMs: AGENT_MS_MAX }, async (agent) => {
      context.milestone(BEGUN, {})
      await context.recorded(BEGUN)
      isHandedOver.yet = true
      return beginGuestExec(agent, request)
    })
  })
}

/** {name, script: JSON of GuestScript} → how it ended. */
export function runCommandTask(host: MachineHost): TaskHandler {
  return async (given, context): Promise<Ran> => {
    const { name, script } = recordOf(given, 'fields')
    if (typeof name !== 'string' || typeof script !== 'string') throw inputInvalid('script')
    if (context.reached.has(BEGUN)) throw lost()
    const { lines, parameters } = JSON.parse(script) as GuestScript
    const { sockets } = await host.hypervisor.describe(name)
    const socket = sockets?.agent
    if (socket === undefined) throw new JobsError('machine_not_there', `The machine ${name} does not run.`)
    const request = {
      path: '/bin/sh',
      args: ['-c', WRAPPER, 'sh', ...parameters.map(({ value }) => value)],
      env: [PATHS, ...parameters.map((parameter) => `${parameter.name}=${parameter.value}`)],
      input: Buffer.from(`${lines.join('\n')}\n`),
    }
    const pid = await handOver(host.clock, socket, context, request)
    const { exitCode, stdout, stderr } = await untilOver(host, socket, pid, context)
    return { exitCode, stdout: endOf(stdout), stderr: endOf(stderr) }
  }
}

/** As Azure's `RunShellScript` answers: the script's own exit code changes nothing about the operation's success. */
function shown({ exitCode, stdout, stderr }: Ran): RunCommandOutput {
  const head =
    exitCode === 0 ? 'Enable succeeded: ' : `Enable failed: the script ended with the exit code ${exitCode}. `
  const message = `${head}\n[stdout]\n${stdout}\n[stderr]\n${stderr}`
  const code = exitCode === 0 ? 'ProvisioningState/succeeded' : 'ProvisioningState/failed'
  const displayStatus = exitCode === 0 ? 'Provisioning succeeded' : 'Provisioning failed'
  return { value: [{ code, level: exitCode === 0 ? 'Info' : 'Error', displayStatus, message }] }
}

export function runCommandJob(parts: MachineJobParts): JobDefinition<RunCommandInput, RunCommandOutput> {
  const { catalog, tasks, orders } = parts
  return {
    name: RUN_COMMAND_JOB,
    version: 1,
    parse: (given) => readIdInput(given) as RunCommandInput,
    run: async (job, { id, order }) => {
      job.cleanup('forget the script', () => orders.remove(order), { when: 'always' })
      const ran = await job.step(
        'run',
        async (step) => {
          const { own } = await findOwnMachine(catalog, id)
          const script = await orders.get(order)
          if (script === undefined) throw new JobsError('command_lost', 'The script is not there any more.')
          return (await tasks.run(step, RUN_COMMAND_TASK, { name: own.machine, script })) as Ran
        },
        { retry: WORKER_RETRY },
      )
      return shown(ran)
    },
  }
}
