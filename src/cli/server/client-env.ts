/** holdfast client-env: what the official Azure command line and SDKs are to be told, to use this server. */
import type { Command } from 'commander'
import type { FaceRecord } from '#server'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, makeHomeCommand, withControl } from './home-option.ts'

type EnvOptions = HomeOptions & Readonly<{ name: string }>

export function clientEnvCommand(): Command {
  return makeHomeCommand({
    usage: 'client-env',
    summary: 'what to tell az and the Azure SDKs, to use this server',
    description:
      'Prints the variables to export and the az commands that log the administrator in, for a shell. For programs: --output json.',
    examples: ['holdfast client-env', 'eval "$(holdfast client-env)"', 'holdfast client-env --output json'],
  })
    .option('--name <name>', 'what az is to call this server', 'holdfast')
    .action((options: EnvOptions) =>
      runCommandHandler(options, ({ output }) =>
        withControl(options, async (control) => {
          const { endpoint, caFile, tenantId, subscriptionId, clientId, clientSecretFile } = (await control.call(
            'face',
          )) as FaceRecord
          const face = { endpoint, caFile, tenantId, subscriptionId, clientId, clientSecretFile }
          output.result(face, () => shellLines(face, options.name))
        }),
      ),
    )
}

/** A word as sh(1) reads it back. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}

/** az wants a folder of its own: it keeps tokens there, and believes them even when a login was wrong. */
export function shellLines(face: FaceRecord, name: string): string {
  const { endpoint, caFile, tenantId, subscriptionId, clientId, clientSecretFile } = face
  const ca = shellWord(caFile)
  return [
    `export AZURE_CONFIG_DIR="\${HOME:-/tmp}"/.azure-${shellWord(name)}`,
    'export AZURE_CORE_COLLECT_TELEMETRY=0',
    `export REQUESTS_CA_BUNDLE=${ca}`,
    `export NODE_EXTRA_CA_CERTS=${ca}`,
    `export AZURE_SUBSCRIPTION_ID=${subscriptionId}`,
    `az cloud register -n ${shellWord(name)} --endpoint-resource-manager ${shellWord(endpoint)}`,
    `az cloud set -n ${shellWord(name)}`,
    `az login --service-principal -u ${clientId} -p "$(cat ${shellWord(clientSecretFile)})" --tenant ${tenantId}`,
  ].join('\n')
}
