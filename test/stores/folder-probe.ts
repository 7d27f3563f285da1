/** What a user without rights meets in a store: `folder-probe.ts FOLDER`; prints the codes of a put and a get. */
import { isHoldfastError } from '#base'
import { FolderStore } from '#engine/repository'

const codeOf = (error: unknown): string => (isHoldfastError(error) ? error.code : String(error))

const folder = process.argv[2] ?? ''
const opened = await FolderStore.open(folder).catch(codeOf)
if (typeof opened === 'string') process.stdout.write(JSON.stringify({ put: opened, get: opened }))
else {
  const put = await opened.put('packs/b', []).catch(codeOf)
  const get = await opened.get('packs/a').then(() => 'ok', codeOf)
  process.stdout.write(JSON.stringify({ put, get }))
}
