/**
 * Quiets a guest for its instant and wakes it again:
 *
 *   look at the guest -> pre-script -> (all machines of the instant are as far) -> freeze -> INSTANT -> thaw -> post-script
 *
 * Whoever was quieted is woken. Before the pre-script begins, the journal holds the post-script: from then on it is owed, and
 * paid (post-script-debt.ts) by whoever takes the instant apart (running-instant.ts, recover.ts, the watchdog). It may be run
 * twice where somebody died between running it and noting so; it is never left out while the guest can be reached.
 */
import { assert, type Clock, isHoldfastError, messageOf } from '#base'
import { AgentClient, withAgent } from '../agent/client.ts'
import { freezeGuest, guestFileSystems, thawGuest, writeBackGuest } from '../agent/guest.ts'
import { HypervisorError } from '../errors.ts'
import type { ConsistencyLevel } from '../machine.ts'
import type { ConsistencyReason, Shortfall } from '../quiesce/consistency-reason.ts'
import { type GuestLook, lookAtFiles, lookAtGuest } from '../quiesce/guest-look.ts'
import { type GuestChannel, runGuestScript, type ScriptEnd, type ScriptKind } from '../quiesce/guest-script.ts'
import { type Freezing, planQuiet, type QuietPlan, scriptFault, settingsIn } from '../quiesce/plan-quiet.ts'
import { SCRIPT_SECONDS_MAX, type ScriptSettings } from '../quiesce/script-settings.ts'
import type { InstantStep, RunningRecord } from './journal.ts'

export type QuietRequest = Readonly<{
  consistency: ConsistencyLevel
  strict: boolean
  wasRunning: boolean
  agentSocketPath: string | undefined
  clock: Clock
  signal: AbortSignal | undefined
  /** Other machines share the instant: their scripts are waited for. */
  together: boolean
  /** An earlier instant of the machine still owes its post-script: then no scripts are run. */
  isOwedByAnother: () => Promise<boolean>
  /** Writes the step to the journal before it is done. */
  enter: (step: InstantStep, change?: Partial<Pick<RunningRecord, 'postScript' | 'stepMsMax'>>) => Promise<void>
  /** A place where others meet, or a test ends the process; nothing is written. */
  pass: (step: string) => Promise<void>
}>

type Frozen = Readonly<{ agent: AgentClient; beganMs: number }>

/** A guest that is as quiet as it could be made. */
export type QuietGuest = Readonly<{
  frozen: Frozen | undefined
  /** Scripts of which the first was begun: the second is owed. */
  scripts: ScriptSettings | undefined
  /** The pre-script succeeded. */
  scriptsRan: boolean
  /** The guest wants its file systems frozen; where it does not, scripts alone decide. */
  freezes: boolean
  /** The point's level when it was frozen, unless scripts decide. */
  frozenIs: QuietPlan['frozenIs']
  shortfalls: readonly Shortfall[]
}>

/** Waiting for another conversation with the agent is not freezing: give up soon, and say so. */
const AGENT_LOCK_MS_MAX = 5_000
/** A guest with much to write back is frozen all the same after this; it goes on writing back then. */
const WRITE_BACK_MS_MAX = 10_000
const THAW_MS_MAX = 5_000
const THAW_ATTEMPTS_MAX = 3
/** Beyond what a script or a freeze may take, for what is done around it. */
export const SCRIPT_MARGIN_MS = 60_000

const LOUD: QuietGuest = {
  frozen: undefined,
  scripts: undefined,
  scriptsRan: false,
  freezes: true,
  frozenIs: 'filesystem',
  shortfalls: [],
}

function only(code: ConsistencyReason, why: string): Shortfall {
  return { code, note: `Only crash-consistent: ${why}.` }
}

function refused(level: ConsistencyLevel, { code, note }: Shortfall): HypervisorError {
  return new HypervisorError('quiesce_failed', `No ${level}-consistent instant: ${note}`, {
    facts: { reason: code },
    retry: 'later',
    hint: 'See "Guests" in the documentation for this reason; or ask for less, such as "--consistency crash".',
  })
}

const LEVELS: readonly ConsistencyLevel[] = ['crash', 'filesystem', 'application']

/** Refuses when less than was asked for was reached, and that must not be. */
export function refuseLess(
  request: Pick<QuietRequest, 'strict' | 'consistency'>,
  level: ConsistencyLevel,
  shortfalls: readonly Shortfall[],
): void {
  const [first] = shortfalls
  if (!request.strict || LEVELS.indexOf(level) >= LEVELS.indexOf(request.consistency)) return
  if (first === undefined)
    throw new HypervisorError('quiesce_failed', `No ${request.consistency}-consistent instant: it is only ${level}.`, {
      facts: { level },
      retry: 'later',
    })
  const isFreeze = ['freeze_failed', 'nothing_to_freeze', 'thawed_early', 'agent_unavailable', 'no_agent_channel']
  if (!isFreeze.includes(first.code)) throw refused(request.consistency, first)
  throw new HypervisorError('freeze_failed', `No ${request.consistency}-consistent instant: ${first.note}`, {
    facts: { reason: first.code },
    retry: 'later',
  })
}

/** What the guest wants, once its scripts were looked at as well. */
async function planOf(request: QuietRequest, agent: AgentClient): Promise<QuietPlan> {
  const { clock, consistency } = request
  assert(consistency !== 'crash', 'Whoever asks for a crash does not ask the guest')
  const look = await lookAtGuest(agent, clock)
  return planQuiet(consistency, look, await scriptsOf(request, agent, look))
}

const OWED: Shortfall = {
  code: 'Pre-ScriptExecutionFailed',
  note: 'The pre-script was not run: the guest still waits for the post-script of an earlier backup.',
}

async function scriptsOf(
  { clock, consistency, isOwedByAnother }: QuietRequest,
  agent: AgentClient,
  look: GuestLook,
): Promise<Parameters<typeof planQuiet>[2]> {
  if (look.scriptSettings === undefined) return undefined
  const settings = settingsIn(look.scriptSettings)
  // Settings that cannot be read cannot forbid a backup: Azure's goes on then, too.
  if ('code' in settings) return { fault: settings, continues: true }
  const [pre, post] = await lookAtFiles(agent, clock, [settings.pre.path, settings.post.path])
  const isOwed = consistency === 'application' && (await isOwedByAnother())
  const fault = scriptFault(settings, { pre, post }) ?? (isOwed ? OWED : undefined)
  return fault === undefined ? settings : { fault, continues: settings.continues }
}

/** The shortfall that a script's end is, if any. */
function shortfallOf(kind: ScriptKind, end: ScriptEnd): Shortfall | undefined {
  const name = kind === 'pre' ? 'Pre' : 'Post'
  if (end.outcome === 'succeeded' || end.outcome === 'warned') return undefined
  if (end.outcome === 'timed_out')
    return { code: `${name}-ScriptTimeout`, note: `The ${kind}-script did not end in its time, and was ended.` }
  const said = end.said === '' ? '' : ` It said: ${lastLine(end.said)}`
  return {
    code: `${name}-ScriptExecutionFailed`,
    note: `The ${kind}-script ended with exit code ${end.exitCode ?? -1}.${said}`,
  }
}

const SAID_CHARS_MAX = 200

function lastLine(text: string): string {
  const line = text.split('\n').at(-1) ?? ''
  return line.replaceAll(/\p{C}/gu, ' ').slice(0, SAID_CHARS_MAX)
}

type Run = Readonly<{
  shortfall: Shortfall | undefined
  /** It came to an end, whichever; false: it may never have begun. */
  ended: boolean
}>

/** Runs it; an agent that falls silent meanwhile is as a script that does not end. */
async function run(request: QuietRequest, kind: ScriptKind, scripts: ScriptSettings): Promise<Run> {
  const channel = channelOf(request)
  try {
    return { shortfall: shortfallOf(kind, await runGuestScript(channel, kind, scripts[kind])), ended: true }
  } catch (error) {
    if (!isHoldfastError(error) || isHoldfastError(error, 'cancelled')) throw error
    const code = isHoldfastError(error, 'agent_unavailable', 'agent_busy', 'agent_frozen', 'timed_out')
      ? ('agent_unavailable' as const)
      : (`${kind === 'pre' ? 'Pre' : 'Post'}-ScriptExecutionFailed` as const)
    return { shortfall: { code, note: `The ${kind}-script could not be run: ${messageOf(error)}` }, ended: false }
  }
}

function channelOf({ agentSocketPath, clock, signal }: QuietRequest): GuestChannel {
  assert(agentSocketPath !== undefined, 'Who looked at the guest has its channel')
  return { agentSocketPath, clock, signal }
}

async function runPreScript(request: QuietRequest, scripts: ScriptSettings): Promise<Shortfall | undefined> {
  const othersMs = request.together ? SCRIPT_SECONDS_MAX * 1_000 : 0
  await request.enter('quiesce', {
    postScript: scripts.post,
    stepMsMax: scripts.pre.timeoutMs + othersMs + SCRIPT_MARGIN_MS,
  })
  const { shortfall } = await run(request, 'pre', scripts)
  await request.pass('quiesce.ran')
  if (shortfall !== undefined && !scripts.continues) throw refused(request.consistency, shortfall)
  return shortfall
}

/** Quiets the guest as far as it goes. @throws `quiesce_failed`, `freeze_failed`; the post-script is owed then if it stands in the journal */
export async function quietGuest(request: QuietRequest): Promise<QuietGuest> {
  const quiet = await beforeFreeze(request)
  await request.pass('quiesced')
  if (quiet === undefined) return LOUD
  if ('code' in quiet) return { ...LOUD, shortfalls: [quiet] }
  const { plan, scriptFailed } = quiet
  const shortfalls = [...plan.shortfalls, ...(scriptFailed === undefined ? [] : [scriptFailed])]
  const { scripts, frozenIs } = plan
  const scriptsRan = scripts !== undefined && scriptFailed === undefined
  const whole = { scripts, frozenIs, scriptsRan, freezes: plan.freeze !== undefined }
  if (plan.freeze === undefined) {
    if (scriptFailed !== undefined) shortfalls.push(only('freeze_disabled', 'the guest has freezing switched off'))
    return { ...whole, frozen: undefined, shortfalls }
  }
  const frozen = await freeze(request, plan.freeze)
  if ('code' in frozen) {
    refuseLess(request, 'crash', [frozen])
    return { ...whole, frozen: undefined, shortfalls: [frozen, ...shortfalls] }
  }
  const { skips } = plan.freeze
  if (skips.length > 0)
    shortfalls.push({ code: 'mounts_skipped', note: `Not frozen, as the guest wants it: ${skips.join(', ')}.` })
  return { ...whole, frozen, shortfalls }
}

type BeforeFreeze = Readonly<{ plan: QuietPlan; scriptFailed: Shortfall | undefined }>

/** Everything that may take long. undefined: the guest is not to be touched. */
async function beforeFreeze(request: QuietRequest): Promise<BeforeFreeze | Shortfall | undefined> {
  const { consistency, agentSocketPath, clock } = request
  if (consistency === 'crash') return undefined
  const stop = (shortfall: Shortfall): Shortfall => {
    refuseLess(request, 'crash', [shortfall])
    return shortfall
  }
  if (!request.wasRunning) return stop(only('machine_paused', 'the machine is paused'))
  if (agentSocketPath === undefined) return stop(only('no_agent_channel', 'the machine has no guest agent channel'))
  let plan: QuietPlan
  try {
    const options = { clock, lockTimeoutMs: AGENT_LOCK_MS_MAX }
    plan = await withAgent(agentSocketPath, options, (agent) => planOf(request, agent))
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    return stop(only('agent_unavailable', messageOf(error)))
  }
  const [first] = plan.shortfalls
  if (plan.refuses && first !== undefined) throw refused(consistency, first)
  refuseLess(request, plan.scripts === undefined ? plan.frozenIs : consistency, plan.shortfalls)
  const scriptFailed = plan.scripts === undefined ? undefined : await runPreScript(request, plan.scripts)
  if (scriptFailed !== undefined) refuseLess(request, 'filesystem', [scriptFailed])
  return { plan, scriptFailed }
}

/** The file systems to freeze; undefined for all. */
async function mountpointsOf(agent: AgentClient, { skips }: Freezing): Promise<readonly string[] | undefined> {
  if (skips.length === 0) return undefined
  const mounted = (await guestFileSystems(agent)).map(({ mountpoint }) => mountpoint)
  return [...new Set(mounted)].filter((mountpoint) => !skips.includes(mountpoint))
}

/** A frozen guest, or the reason why there is none. */
async function freeze(request: QuietRequest, freezing: Freezing): Promise<Frozen | Shortfall> {
  const { clock } = request
  const { agentSocketPath } = channelOf(request)
  let agent: AgentClient | undefined
  let begun = false
  try {
    agent = await AgentClient.open(agentSocketPath, { clock, lockTimeoutMs: AGENT_LOCK_MS_MAX })
    await writeBackGuest(agent, clock, WRITE_BACK_MS_MAX)
    const mountpoints = await mountpointsOf(agent, freezing)
    begun = true
    await request.enter('freeze', { stepMsMax: freezing.timeoutMs + SCRIPT_MARGIN_MS })
    const beganMs = clock.monotonicMs()
    const wanted = { timeoutMs: freezing.timeoutMs, ...(mountpoints !== undefined && { mountpoints }) }
    const count = await freezeGuest(agent, wanted)
    await request.pass('freeze.frozen')
    if (count > 0) return { agent, beganMs }
    await agent.close()
    return only('nothing_to_freeze', 'the guest has no file system that can be frozen')
  } catch (error) {
    // A freeze that timed out may still happen in the guest, and a failed one may have frozen some file systems.
    if (agent !== undefined) await (begun ? thawAndClose(agent) : agent.close())
    if (begun) await request.enter('prepare')
    if (!isHoldfastError(error)) throw error
    const code = isHoldfastError(error, 'agent_unavailable', 'agent_busy') ? 'agent_unavailable' : 'freeze_failed'
    return only(code, messageOf(error))
  }
}

async function thawSurely(agent: AgentClient): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await thawGuest(agent, { timeoutMs: THAW_MS_MAX })
    } catch (error) {
      if (attempt >= THAW_ATTEMPTS_MAX) throw error
    }
  }
}

async function thawAndClose(agent: AgentClient): Promise<number> {
  try {
    return await thawSurely(agent)
  } finally {
    await agent.close()
  }
}

/** Thaws. The guest does not wait for our journal: what that says until then has the guest thawed as well. */
export async function thaw(request: QuietRequest, frozen: Frozen): Promise<{ thawed: number; freezeMs: number }> {
  const timed = async (): Promise<{ thawed: number; freezeMs: number }> => {
    const thawed = await thawSurely(frozen.agent)
    return { thawed, freezeMs: request.clock.monotonicMs() - frozen.beganMs }
  }
  const [thawing, noted] = await Promise.allSettled([timed(), request.enter('thaw')])
  await frozen.agent.close()
  if (thawing.status === 'rejected') throw thawing.reason
  if (noted.status === 'rejected') throw noted.reason
  return thawing.value
}

/**
 * Runs the post-script. One that did not come to its end, because the agent is silent or refuses it, stays owed.
 * @throws `quiesce_failed` when the guest's settings forbid a backup whose post-script failed
 */
export async function wakeApplications(request: QuietRequest, scripts: ScriptSettings): Promise<Shortfall | undefined> {
  await request.enter('wake', { stepMsMax: scripts.post.timeoutMs + SCRIPT_MARGIN_MS })
  const { shortfall, ended } = await run(request, 'post', scripts)
  await request.pass('wake.ran')
  // Back to a step in which the guest suffers nothing.
  await request.enter('prepare', ended ? { postScript: undefined } : {})
  if (shortfall !== undefined && !scripts.continues) throw refused(request.consistency, shortfall)
  return shortfall
}
