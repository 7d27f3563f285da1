/**
 * Why an instant is less consistent than was asked for: a code for programs and a sentence for people, both kept on the point.
 * Codes of the script framework are spelled as Azure Backup spells them; nothing here is ever said in another way elsewhere.
 */

/** What the framework of pre- and post-scripts reports, in Azure's words (docs/guests.md lists them with their remedies). */
export const SCRIPT_CODES = [
  'Pre-ScriptExecutionFailed',
  'Post-ScriptExecutionFailed',
  'Pre-ScriptNotFound',
  'Post-ScriptNotFound',
  'IncorrectJSONConfigFile',
  'FailedPrepostPluginConfigPermissionError',
  'FailedPrepostPluginConfigOwnershipError',
  'InsufficientPermissionforPre-Script',
  'InsufficientPermissionforPost-Script',
  'Pre-ScriptTimeout',
  'Post-ScriptTimeout',
] as const
export type ScriptCode = (typeof SCRIPT_CODES)[number]

export const CONSISTENCY_REASONS = [
  'machine_paused',
  'machine_not_shut_down',
  'no_agent_channel',
  'agent_unavailable',
  'agent_runs_no_programs',
  'no_scripts',
  'freeze_disabled',
  'freeze_failed',
  'nothing_to_freeze',
  'mounts_skipped',
  'thawed_early',
  ...SCRIPT_CODES,
] as const
export type ConsistencyReason = (typeof CONSISTENCY_REASONS)[number]

export type Shortfall = Readonly<{ code: ConsistencyReason; note: string }>
