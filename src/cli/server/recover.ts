/** holdfast recover: a home on a new machine from stores with vaults, or their mirrors, and key files. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Recovered, RecoveredVault } from '#server'
import { runCommandHandler } from '../command.ts'
import { CliError } from '../errors.ts'
import { EXIT } from '../exit-code.ts'
import { textTable } from '../text-table.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

type RecoverOptions = HomeOptions & Readonly<{ from?: string[]; key?: string[]; promote?: boolean }>

const collect = (value: string, before: readonly string[] = []): string[] => [...before, value]

export function recoverCommand(): Command {
  return makeHomeCommand({
    usage: 'recover',
    summary: 'make a home again from vaults and their keys, after the old one is lost',
    description:
      'Looks for vaults of Azure Backup below the stores named, or for their mirrors, and opens them with the key files. Regions, vaults, policies, ' +
      'items, points and jobs come from the newest copy of the catalog in them, and from the points themselves where they are newer. The stores are ' +
      'only read; a home that has resources is refused. Protection is stopped until somebody resumes it; restores work at once. With --promote a mirror that ' +
      'stands in for a lost vault may be backed up into again.',
    examples: [
      'holdfast recover --from /mnt/second/store --key vault-7d3e1c52.key',
      'holdfast recover --from s3://offsite/holdfast --key a.key --key b.key --home /srv/holdfast',
    ],
  })
    .option('--from <store>', 'a store of a region, or one vault; may be given several times', collect)
    .option('--key <file>', 'key file of a vault ("holdfast vault key export"); may be given several times', collect)
    .option('--promote', 'make mirrors that stand in for a lost vault repositories of their own')
    .action((options: RecoverOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const { from = [], key = [] } = options
        if (from.length === 0) throw new CliError('usage_invalid', 'Say where the vaults lie: --from STORE.')
        if (key.length === 0) throw new CliError('usage_invalid', 'Give the key file of a vault: --key FILE.')
        const home = await homeOf(options)
        const { recover } = await import('#server')
        const { systemClock: clock, systemRandom: random } = await import('#runtime')
        const places = from.map((place) => (place.includes('://') ? place : resolve(place)))
        const keyFiles = key.map((file) => resolve(file))
        const wish = { from: places, keyFiles, promote: options.promote === true }
        const recovered = await recover(home, wish, { clock, random })
        for (const note of recovered.notes) output.note(note)
        output.result(jsonOf(recovered), () => describe(recovered))
        return EXIT.ok
      }),
    )
}

function jsonOf({ home, vaults, closed, catalogOf, records }: Recovered): unknown {
  const { clientId, secretPath } = home.administrator
  const shut = closed.map(({ location }) => location)
  return {
    schema: 1,
    home: home.home,
    ...home.identity,
    clientId,
    clientSecretFile: secretPath,
    vaults,
    closed: shut,
    ...(catalogOf !== undefined && { catalogOf }),
    records,
  }
}

function describe({ home, vaults, closed, catalogOf, records }: Recovered): string {
  const { items, points, policies, jobs, fromPoints } = records
  const rows = vaults.map((vault) => [vault.location, whatIs(vault), String(vault.points), vault.newestPointAt ?? '-'])
  return [
    textTable(['VAULT', 'IS', 'POINTS', 'NEWEST'], rows),
    '',
    catalogOf === undefined
      ? 'No copy of the catalog opened: all of it comes from the points.'
      : `From the catalog of ${catalogOf}; ${fromPoints} points are newer, or were not in it.`,
    `Recovered: ${items} items, ${points} points, ${policies} policies, ${jobs} jobs.`,
    ...closed.map(({ location }) => `Not opened by any of the keys: ${location}`),
    `The home ${home.home} is ready; the administrator’s secret is in ${home.administrator.secretPath}.`,
    'Next: holdfast serve; a pool for the region, where it has none (holdfast pool add); then restore.',
  ].join('\n')
}

function whatIs({ isMirror, promoted }: RecoveredVault): string {
  if (!isMirror) return 'vault'
  return promoted ? 'mirror, promoted' : 'mirror, read-only'
}
