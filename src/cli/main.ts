/**
 * The entry that bin/holdfast runs. Compiled code is kept in the user's cache folder, which halves the time to start; where
 * it cannot be kept Node goes on without. Everything else must load after that, hence the import at the end.
 */
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { cachesFolder } from './cache-folder.ts'

enableCompileCache(join(cachesFolder(), 'compiled'))
const { runCommandLine } = await import('./run.ts')
await runCommandLine(process.argv.slice(2))
