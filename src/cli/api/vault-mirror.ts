/** holdfast vault mirror: how the copy of a vault in the paired region stands; bringing it up to date, and checking both. */
import type { Command } from 'commander'
import { formatBytes } from '#base'
import { follow, makeApiCommand, runApiCommand, type Shown } from './api-command.ts'
import { type GroupOptions, idOf, withGroupOption } from './targets.ts'
import { factLines, textCell, timeCell } from './words.ts'

const VAULT_TYPE = 'Microsoft.RecoveryServices/vaults'

type SideJson = Readonly<{ checkedBytes: number; hurt: readonly string[]; healed: readonly string[]; lost: number }>
type MirrorJson = Readonly<{
  properties: Readonly<{
    region: string
    location: string
    state: string
    pointsBehind: number
    lagSeconds: number
    lastMirroredTime?: string
    error?: Readonly<{ code: string; message: string; hint?: string }>
    lastCheck?: Readonly<{ time: string; ok: boolean; vault: SideJson; mirror: SideJson }>
  }>
}>
type MirrorOptions = GroupOptions & Readonly<{ now?: boolean; check?: boolean }>

export function vaultMirrorCommand(): Command {
  const command = makeApiCommand({
    usage: 'mirror <name>',
    summary: 'how the copy of a vault in the paired region stands',
    description:
      'Shows where the mirror of a GeoRedundant vault lies, how many points it lacks and since when, and what the last check found. ' +
      'With --now it is brought up to date first; with --check every byte of both sides is read, and what is hurt on one is healed from the other.',
    examples: ['holdfast vault mirror v1 -g web', 'holdfast vault mirror v1 -g web --check'],
  })
    .option('--now', 'bring it up to date first')
    .option('--check', 'check and heal both sides first')
  return withGroupOption(command).action((name: string, options: MirrorOptions) =>
    runApiCommand(options, async (context) => {
      const path = `${await idOf(context, name, VAULT_TYPE, options)}/backupMirror`
      if (options.check === true)
        await follow(context, await context.client.ask('POST', `${path}/check`), `Checking ${name} and its mirror`)
      if (options.now === true)
        await follow(context, await context.client.ask('POST', `${path}/run`), `Mirroring ${name}`)
      return shown(await context.client.get<MirrorJson>(path))
    }),
  )
}

function shown(mirror: MirrorJson): Shown {
  const { region, location, state, pointsBehind, lagSeconds, lastMirroredTime, error, lastCheck } = mirror.properties
  const behind = pointsBehind === 0 ? 'nothing' : `${pointsBehind} points, the oldest for ${lagSeconds} s`
  const why = error === undefined ? [] : [['Error', `${error.message} ${error.hint ?? ''}`.trim()] as const]
  return {
    value: mirror,
    table: () =>
      factLines([
        ['State', textCell(state)],
        ['Region', textCell(region)],
        ['Lies at', textCell(location)],
        ['Lacks', behind],
        ['Mirrored (UTC)', timeCell(lastMirroredTime)],
        ...why,
        ['Checked (UTC)', lastCheck === undefined ? 'never' : timeCell(lastCheck.time)],
        ...(lastCheck === undefined
          ? []
          : ([
              ['Vault', sideText(lastCheck.vault)],
              ['Mirror', sideText(lastCheck.mirror)],
            ] as const)),
      ]),
  }
}

function sideText({ checkedBytes, hurt, healed, lost }: SideJson): string {
  if (hurt.length === 0) return `${formatBytes(checkedBytes)} checked, nothing hurt`
  return `${formatBytes(checkedBytes)} checked, ${hurt.length} objects hurt, ${healed.length} healed, ${lost} lost`
}
