/**
 * Decides how a guest is quieted for an instant, from what it shows about itself. Pure.
 *
 *   the guest                                scripts    freeze            what the point can be
 *   Windows                                  none       VSS, by agent     application
 *   scripts that may be run                  both       yes               application
 *   scripts, with freezing switched off      both       no                application; crash when one fails
 *   scripts that may not be run              none       yes               filesystem, or no backup: as its settings say
 *   freeze hooks of the agent                none       yes, runs them    application
 *   neither                                  none       yes               filesystem
 */
import type { ConsistencyLevel } from '../machine.ts'
import type { ScriptCode, Shortfall } from './consistency-reason.ts'
import { type FreezeSettings, readFreezeSettings } from './freeze-settings.ts'
import type { GuestFile, GuestLook } from './guest-look.ts'
import { readScriptSettings, SCRIPT_SETTINGS_PATH, type ScriptSettings } from './script-settings.ts'

export type FileFacts = Omit<GuestFile, 'text'>

export type Freezing = Readonly<{ timeoutMs: number; skips: readonly string[] }>

export type QuietPlan = Readonly<{
  scripts: ScriptSettings | undefined
  freeze: Freezing | undefined
  /** What the point is when the guest was frozen and no script had to be run. */
  frozenIs: Exclude<ConsistencyLevel, 'crash'>
  shortfalls: readonly Shortfall[]
  /** The guest's own settings forbid a backup without its scripts. */
  refuses: boolean
}>

/** A freeze that takes longer on Linux is a fault of storage or hook. */
const FREEZE_MS_MAX = 20_000
/** The agent gives Windows' writers this long to prepare (VSS_TIMEOUT_FREEZE_MSEC); the hold itself is 10 s at most. */
const VSS_FREEZE_MS_MAX = 60_000

/** Nobody but root may change what root runs. */
const OTHERS = 0o077
const RUNS = 0o500

function fault(code: ScriptCode, note: string): Shortfall {
  return { code, note }
}

/** The settings' file, or why it says nothing. */
export function settingsIn(file: GuestFile): ScriptSettings | Shortfall {
  if (file.ownerId !== 0)
    return fault('FailedPrepostPluginConfigOwnershipError', `${SCRIPT_SETTINGS_PATH} does not belong to root.`)
  if ((file.mode & OTHERS) !== 0)
    return fault(
      'FailedPrepostPluginConfigPermissionError',
      `${SCRIPT_SETTINGS_PATH} has mode ${file.mode.toString(8)}; it must have 600.`,
    )
  const settings = readScriptSettings(file.text)
  if ('fault' in settings)
    return fault('IncorrectJSONConfigFile', `${SCRIPT_SETTINGS_PATH} is incorrect: ${settings.fault}`)
  return settings
}

/** What keeps these scripts from being run: the first fault, in the order in which they would run. */
export function scriptFault(
  settings: ScriptSettings,
  files: Readonly<{ pre: FileFacts | undefined; post: FileFacts | undefined }>,
): Shortfall | undefined {
  for (const [kind, name] of [
    ['pre', 'Pre'],
    ['post', 'Post'],
  ] as const) {
    const { path } = settings[kind]
    const file = files[kind]
    if (file === undefined) return fault(`${name}-ScriptNotFound`, `The ${kind}-script '${path}' is not there.`)
    if (file.ownerId !== 0 || (file.mode & OTHERS) !== 0 || (file.mode & RUNS) !== RUNS)
      return fault(
        `InsufficientPermissionfor${name}-Script`,
        `The ${kind}-script ${path} has owner ${file.ownerId} and mode ${file.mode.toString(8)}; it must have root and 700.`,
      )
  }
  return undefined
}

function freezing(look: GuestLook, settings: FreezeSettings, scripts: ScriptSettings | undefined) {
  if (!settings.freezes || scripts?.freezes === false) return undefined
  const timeoutMs = settings.waitMs ?? (look.system === 'windows' ? VSS_FREEZE_MS_MAX : FREEZE_MS_MAX)
  return { timeoutMs, skips: settings.skips }
}

function withoutScripts(look: GuestLook): { frozenIs: QuietPlan['frozenIs']; shortfalls: Shortfall[] } {
  if (look.system === 'windows' || look.hooks.length > 0) return { frozenIs: 'application', shortfalls: [] }
  if (!look.runsPrograms) {
    const note = 'Not application-consistent: the guest agent may not run programs, so no scripts could be looked for.'
    return { frozenIs: 'filesystem', shortfalls: [{ code: 'agent_runs_no_programs', note }] }
  }
  const note = `Not application-consistent: the guest has no pre- and post-scripts (${SCRIPT_SETTINGS_PATH}).`
  return { frozenIs: 'filesystem', shortfalls: [{ code: 'no_scripts', note }] }
}

/** @param scripts the guest's settings when they were found good, or what is wrong with them or their scripts */
export function planQuiet(
  wanted: Exclude<ConsistencyLevel, 'crash'>,
  look: GuestLook,
  scripts: ScriptSettings | Readonly<{ fault: Shortfall; continues: boolean }> | undefined,
): QuietPlan {
  const settings = readFreezeSettings(look.freezeSettings?.text ?? '')
  const good = scripts === undefined || 'fault' in scripts ? undefined : scripts
  const freeze = freezing(look, settings, good)
  const runs = wanted === 'application' ? good : undefined
  const off: Shortfall[] =
    freeze === undefined && runs === undefined
      ? [{ code: 'freeze_disabled', note: 'Only crash-consistent: the guest has freezing switched off.' }]
      : []
  if (wanted === 'filesystem')
    return { scripts: undefined, freeze, frozenIs: 'filesystem', shortfalls: off, refuses: false }
  if (runs !== undefined) return { scripts: runs, freeze, frozenIs: 'filesystem', shortfalls: [], refuses: false }
  if (scripts !== undefined && 'fault' in scripts) {
    const shortfalls = [scripts.fault, ...off]
    return { scripts: undefined, freeze, frozenIs: 'filesystem', shortfalls, refuses: !scripts.continues }
  }
  const { frozenIs, shortfalls } = withoutScripts(look)
  return { scripts: undefined, freeze, frozenIs, shortfalls: [...shortfalls, ...off], refuses: false }
}
