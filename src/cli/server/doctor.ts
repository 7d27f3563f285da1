/** holdfast doctor: what a home lacks, and how to mend it. */
import type { Command } from 'commander'
import type { Diagnosis, Finding } from '#server'
import { runCommandHandler } from '../command.ts'
import { EXIT } from '../exit-code.ts'
import { printable } from '../printable.ts'
import { type HomeOptions, homeOf, makeHomeCommand } from './home-option.ts'

export function doctorCommand(): Command {
  return makeHomeCommand({
    usage: 'doctor',
    summary: 'what is missing on this host and in this home, and how to mend it',
    description:
      'Looks at programs, accelerator, rights, settings, certificate, catalog, pools, stores, clocks and processes. ' +
      'Exits 0 when nothing fails (warnings are told), 1 when the catalog is damaged, 6 when anything else fails.',
    examples: ['holdfast doctor', 'holdfast doctor --home /srv/holdfast --output json'],
  }).action((options: HomeOptions) =>
    runCommandHandler(options, async ({ output }) => {
      const home = await homeOf(options)
      const { diagnose } = await import('#server')
      const { systemClock } = await import('#runtime')
      const diagnosis = await diagnose(home, systemClock)
      output.result(diagnosis, () => describe(diagnosis))
      return exitOf(diagnosis)
    }),
  )
}

function exitOf({ healthy, findings }: Diagnosis): number {
  if (healthy) return EXIT.ok
  const damaged = findings.some(({ check, severity }) => check === 'catalog' && severity === 'failed')
  return damaged ? EXIT.damage : EXIT.outside
}

const MARKS = { well: 'well   ', warning: 'WARNING', failed: 'FAILED ' } as const

function line({ check, severity, says, remedy }: Finding): string {
  const mend = remedy === undefined || severity === 'well' ? '' : `\n         ${printable(remedy)}`
  return `${MARKS[severity]}  ${printable(check)}: ${printable(says)}${mend}`
}

function describe({ findings, home }: Diagnosis): string {
  const count = (severity: Finding['severity']): number => findings.filter((one) => one.severity === severity).length
  const end = `${home}: ${count('failed')} failed, ${count('warning')} warnings, ${count('well')} well.`
  return [...findings.map(line), end].join('\n')
}
