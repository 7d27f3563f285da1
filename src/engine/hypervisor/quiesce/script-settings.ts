/**
 * The file VMSnapshotScriptPluginConfig.json of a guest, as Azure Backup defines it: which scripts run before and after an
 * instant, how often, for how long, and whether a backup goes on without them. Pure.
 *
 * What is missing has Azure's default. What cannot be meant is a fault in a sentence, never a guess: a typing error in this
 * file must not turn into a script that is quietly not run.
 */

export const SCRIPT_SETTINGS_PATH = '/etc/azure/VMSnapshotScriptPluginConfig.json'

/** One of the two scripts. It stands in the journal while an application may be waiting for it. */
export type GuestScript = Readonly<{
  path: string
  args: readonly string[]
  /** Further tries after one that failed. */
  retries: number
  /** For all tries together. */
  timeoutMs: number
  /** The longest that its end goes unnoticed. */
  pollMsMax: number
}>

export type ScriptSettings = Readonly<{
  pre: GuestScript
  post: GuestScript
  /** Go on without the applications when a script cannot be run or fails. */
  continues: boolean
  freezes: boolean
}>

const TIMEOUT_SECONDS_DEFAULT = 30
export const SCRIPT_SECONDS_MAX = 1_800
const RETRIES_MAX = 100
const POLL_SECONDS_DEFAULT = 1
const POLL_SECONDS_MAX = 5
const ARGS_MAX = 64
const TEXT_CHARS_MAX = 4_096

type Fields = Readonly<Record<string, unknown>>

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= TEXT_CHARS_MAX && !value.includes('\0')
}

function pathOf(fields: Fields, key: string): string {
  const value = fields[key]
  if (isText(value) && (value === '' || value.startsWith('/'))) return value
  throw new RangeError(`${key} must be the full path of a script.`)
}

function argsOf(fields: Fields, key: string): string[] {
  const value = fields[key] ?? []
  if (Array.isArray(value) && value.length <= ARGS_MAX && value.every(isText)) return value
  throw new RangeError(`${key} must be a list of texts, at most ${ARGS_MAX}.`)
}

function countOf(fields: Fields, key: string, otherwise: number, most: number, least = 0): number {
  const value = fields[key] ?? otherwise
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least) return Math.min(value, most)
  throw new RangeError(`${key} must be a whole number from ${least} to ${most}.`)
}

function flagOf(fields: Fields, key: string): boolean {
  const value = fields[key] ?? true
  if (typeof value === 'boolean') return value
  throw new RangeError(`${key} must be true or false.`)
}

/** @returns the settings, or what is wrong with them */
export function readScriptSettings(text: string): ScriptSettings | Readonly<{ fault: string }> {
  try {
    const fields: unknown = JSON.parse(text.replace(/^\uFEFF/, ''))
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) throw new RangeError('It is no object.')
    return settingsOf(fields as Fields)
  } catch (error) {
    if (error instanceof SyntaxError) return { fault: 'It is not JSON.' }
    if (error instanceof RangeError) return { fault: error.message }
    throw error
  }
}

function settingsOf(fields: Fields): ScriptSettings {
  const seconds = countOf(fields, 'timeoutInSeconds', TIMEOUT_SECONDS_DEFAULT, SCRIPT_SECONDS_MAX, 1)
  const poll = countOf(fields, 'ScriptsExecutionPollTimeSeconds', POLL_SECONDS_DEFAULT, POLL_SECONDS_MAX, 1)
  const times = { timeoutMs: seconds * 1_000, pollMsMax: poll * 1_000 }
  return {
    pre: {
      path: pathOf(fields, 'preScriptLocation'),
      args: argsOf(fields, 'preScriptParams'),
      retries: countOf(fields, 'preScriptNoOfRetries', 0, RETRIES_MAX),
      ...times,
    },
    post: {
      path: pathOf(fields, 'postScriptLocation'),
      args: argsOf(fields, 'postScriptParams'),
      retries: countOf(fields, 'postScriptNoOfRetries', 0, RETRIES_MAX),
      ...times,
    },
    continues: flagOf(fields, 'continueBackupOnFailure'),
    freezes: flagOf(fields, 'fsFreezeEnabled'),
  }
}
