/** Puts the pre- and post-scripts of Azure's framework into a guest, as its administrator would. */
import type { RunningGuest } from './guest-process.ts'

export type GuestScripts = Readonly<{
  pre?: string
  post?: string
  /** Instead of what Azure's file has for these. */
  settings?: Readonly<Record<string, unknown>>
}>

export const SETTINGS_FILE = '/etc/azure/VMSnapshotScriptPluginConfig.json'
export const PRE_SCRIPT = '/etc/azure/pre.sh'
export const POST_SCRIPT = '/etc/azure/post.sh'

function here(path: string, text: string): string {
  return `cat > ${path} <<'END_OF_FILE'\n${text}\nEND_OF_FILE\n`
}

export async function installScripts(guest: RunningGuest, scripts: GuestScripts): Promise<void> {
  const settings = {
    pluginName: 'ScriptRunner',
    preScriptLocation: PRE_SCRIPT,
    postScriptLocation: POST_SCRIPT,
    preScriptParams: ['before'],
    postScriptParams: ['after'],
    preScriptNoOfRetries: 0,
    postScriptNoOfRetries: 0,
    timeoutInSeconds: 30,
    continueBackupOnFailure: true,
    fsFreezeEnabled: true,
    ScriptsExecutionPollTimeSeconds: 1,
    ...scripts.settings,
  }
  await guest.run(
    `umask 077; rm -rf /etc/azure; mkdir -p /etc/azure
${here(PRE_SCRIPT, `#!/bin/sh\n${scripts.pre ?? 'exit 0'}`)}
${here(POST_SCRIPT, `#!/bin/sh\n${scripts.post ?? 'exit 0'}`)}
${here(SETTINGS_FILE, JSON.stringify(settings, undefined, 2))}
chmod 700 ${PRE_SCRIPT} ${POST_SCRIPT}; chmod 600 ${SETTINGS_FILE}; sync`,
  )
}

export async function removeScripts(guest: RunningGuest): Promise<void> {
  await guest.run('rm -rf /etc/azure; sync')
}
