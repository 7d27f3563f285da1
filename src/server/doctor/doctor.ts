/**
 * What a home lacks and how to mend it. Changes nothing but for trials that clean up after themselves; works with and without
 * a server, and says so when there is none.
 */
import type { Clock } from '#base'
import { isHoldfastError, PROGRAM_VERSION } from '#base'
import { inspectCatalog } from '#catalog'
import { openControl } from '../control-client.ts'
import type { Home } from '../home.ts'
import type { LinkView } from '#api'
import type { Health } from '../serve.ts'
import { existsSync } from 'node:fs'
import { baseFindings } from './base-checks.ts'
import { failed, type Finding, tried, warning, well } from './finding.ts'
import {
  catalogFinding,
  certificateFindings,
  clockFinding,
  configFinding,
  rightsFindings,
  spaceFinding,
} from './home-checks.ts'
import { hostFindings } from './host-checks.ts'
import { placeFindings } from './place-checks.ts'

export type Diagnosis = Readonly<{ home: string; version: string; healthy: boolean; findings: readonly Finding[] }>

async function processFindings(home: Home): Promise<Finding[]> {
  try {
    const control = await openControl(home)
    try {
      const { version, pid, processes, links } = (await control.call('health')) as Health
      const server =
        version === PROGRAM_VERSION
          ? well('server', `It runs (process ${pid}, version ${version}).`)
          : warning('server', `It is of version ${version}, this program of ${PROGRAM_VERSION}.`, 'Start it again.')
      return [server, ...processes.map(processFinding), ...links.map(linkFinding)]
    } finally {
      control.close()
    }
  } catch (error) {
    if (!isHoldfastError(error, 'serve_not_running')) throw error
    return [warning('server', 'It does not run.', 'Start it: holdfast serve, or systemctl start holdfast-serve.')]
  }
}

/** A link that is down is a warning: nothing of this home suffers by it. */
function linkFinding({ endpoint, regions, state, lastSeen, why }: LinkView): Finding {
  const check = `link ${regions.join(', ')}`
  if (state === 'reachable' && why === undefined) return well(check, `The server at ${endpoint} answers.`)
  const seen = lastSeen === undefined ? '' : ` It was last seen at ${lastSeen}.`
  const says = `The server at ${endpoint} is ${state}.${seen}${why === undefined ? '' : ` ${why}`}`
  return warning(check, says, 'Look at that server and at the way to it; "holdfast region list" asks it anew.')
}

function processFinding({ name, health, identity, lastRestart }: Health['processes'][number]): Finding {
  const says = `It is ${health} (process ${identity?.pid ?? 'unknown'}).`
  const remedy = `See log/${name}.log and log/${name}.out in the home, and "holdfast status".`
  if (health === 'well')
    return well(name, lastRestart === undefined ? says : `${says} Last replaced: ${lastRestart.reason}.`)
  return health === 'silent' ? warning(name, says, remedy) : failed(name, says, remedy)
}

async function homeFindings(home: Home, clock: Clock): Promise<readonly Finding[]> {
  const { config, finding } = await configFinding(home)
  const kept = [finding, await spaceFinding(home)]
  const certificates = await tried('certificate', 'Look at the folder tls of the home.', () =>
    certificateFindings(home, config, clock),
  )
  if (!existsSync(home.catalog))
    return [...kept, ...certificates, warning('catalog', 'There is none yet.', 'Run "holdfast init".')]
  const seen = inspectCatalog(home.catalog)
  const places = await tried('pools and stores', 'Look at "holdfast pool list".', () =>
    placeFindings(seen, config, clock),
  )
  const bases = await tried('bases', 'Look at "holdfast pool list".', () => baseFindings(seen))
  const keys = vaultKeyFindings(seen.unexportedVaults)
  return [...kept, ...certificates, catalogFinding(home, seen), clockFinding(seen, clock), ...places, ...bases, ...keys]
}

/** A vault whose key lies on this host alone is lost with it, whatever mirrors there are. */
function vaultKeyFindings(vaults: readonly string[]): Finding[] {
  if (vaults.length === 0) return []
  const says = `The key of ${vaults.slice(0, 10).join(', ')} was never exported: with this host lost, nobody reads ${vaults.length === 1 ? 'that vault' : 'these vaults'}.`
  return [warning('vault keys', says, 'Run "holdfast vault key export", and keep the file away from this host.')]
}

/** @param host also look at the host: programs, and the run that shows what accelerates guests */
export async function diagnose(home: Home, clock: Clock, host = true): Promise<Diagnosis> {
  const findings = [
    ...(host ? await tried('host', 'See the message.', () => hostFindings(clock)) : []),
    ...(await tried('rights', `Look at the rights of ${home.folder}.`, () => rightsFindings(home))),
    ...(await tried('home', `Look at ${home.folder}.`, () => homeFindings(home, clock))),
    ...(await tried('server', 'See its log.', () => processFindings(home))),
  ]
  const healthy = findings.every(({ severity }) => severity !== 'failed')
  return { home: home.folder, version: PROGRAM_VERSION, healthy, findings }
}
