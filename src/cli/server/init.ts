/** holdfast init: makes the home of a server, without running it. */
import type { Command } from 'commander'
import type { Initialised } from '#server'
import { runCommandHandler } from '../command.ts'
import { parsePort } from '../count.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

type InitOptions = HomeOptions & Readonly<{ port?: number; address?: string }>

export function initHomeCommand(): Command {
  return makeHomeCommand({
    usage: 'init',
    summary: 'make a home: settings, keys, certificates, an administrator, two regions to try',
    description:
      'Makes what "holdfast serve" needs and would make itself at its first start, so that the settings can be changed before. ' +
      'What is there stays as it is. The administrator’s secret is shown once, and is in a file of the home.',
    examples: ['holdfast init', 'holdfast init --home /srv/holdfast --port 9443'],
  })
    .option('--port <port>', 'where the API is to listen; kept in the settings', parsePort)
    .option('--address <address>', 'the address that it is to listen on; kept in the settings')
    .action((options: InitOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const home = await homeOf(options)
        const { initHome } = await import('#server')
        const { systemClock, systemRandom } = await import('#runtime')
        const { port, address } = options
        const listen = { ...(port !== undefined && { port }), ...(address !== undefined && { address }) }
        const made = await initHome(home, { clock: systemClock, random: systemRandom }, listen)
        if (!made.configWritten && Object.keys(listen).length > 0)
          output.note(`${made.configFile} was there already and stays as it is: change the port and address there.`)
        output.result(jsonOf(made), () => describe(made))
      }),
    )
}

/** The secret itself only where it is new. */
function jsonOf({ home, configFile, identity, administrator, caFile, regions }: Initialised): unknown {
  const { clientId, secretPath, secret } = administrator
  const whom = { clientId, clientSecretFile: secretPath, ...(secret !== undefined && { clientSecret: secret }) }
  return { home, configFile, ...identity, caFile, regions, ...whom }
}

function describe({ home, configFile, administrator, regions }: Initialised): string {
  const { clientId, secretPath, secret } = administrator
  const shown = secret === undefined ? '' : `\nIts secret, shown once: ${secret}`
  return [
    `The home ${home} is ready. Its settings: ${configFile}`,
    `Regions: ${regions.join(', ')}.`,
    `The administrator is ${clientId}; its secret is in ${secretPath}.${shown}`,
    'Next: holdfast serve; then holdfast client-env.',
  ].join('\n')
}
