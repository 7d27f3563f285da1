/** holdfast principal add-certificate and remove-credential. */
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import type { CredentialView } from '#server'
import { runCommandHandler } from '../command.ts'
import { type HomeOptions, makeHomeCommand, withControl } from '../server/home-option.ts'

type CertificateOptions = HomeOptions & Readonly<{ certificate: string }>

export function addCertificateCommand(): Command {
  return makeHomeCommand({
    usage: 'add-certificate <principal>',
    summary: 'let a principal log in with a certificate instead of a secret',
    description:
      'Takes an X.509 certificate in PEM with an RSA key; the private key stays where it is. It counts until it ends. ' +
      'az then logs in with "--certificate FILE", where FILE holds both.',
    examples: ['holdfast principal add-certificate ci --certificate ci.pem'],
  })
    .requiredOption('--certificate <path>', 'PEM file with the certificate')
    .action((principal: string, options: CertificateOptions) =>
      runCommandHandler(options, async ({ output }) => {
        const certificate = certificateIn(await readFile(options.certificate, 'utf8'))
        await withControl(options, async (control) => {
          const made = (await control.call('principal.add-certificate', { principal, certificate })) as CredentialView
          output.result(
            made,
            () => `${principal} may log in with ${made.hint}... until ${made.expiresAt ?? 'it is removed'}.`,
          )
        })
      }),
    )
}

/** The first certificate alone: a file may hold the private key too, which does not concern the server. */
export function certificateIn(pem: string): string {
  return /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/.exec(pem)?.[0] ?? ''
}

export function removeCredentialCommand(): Command {
  return makeHomeCommand({
    usage: 'remove-credential <principal> <id>',
    summary: 'take one secret or certificate away at once',
    examples: ['holdfast principal remove-credential ci 0d5f7c1e-6c2b-4f0e-9d4e-2f6f6c1f2a3b'],
  }).action((principal: string, credential: string, options: HomeOptions) =>
    runCommandHandler(options, ({ output }) =>
      withControl(options, async (control) => {
        const gone = (await control.call('principal.remove-credential', { principal, credential })) as CredentialView
        output.result(gone, () => `${principal} cannot log in with ${gone.hint}... any more.`)
      }),
    ),
  )
}
