// One upload by tus-js-client: node tus_js.mjs UPLOAD_URL FILE. Prints the seconds, without those of starting node.
import { createReadStream } from 'node:fs'
import { Upload } from 'tus-js-client'

const [url, path] = process.argv.slice(2)
const began = performance.now()
new Upload(createReadStream(path), {
  uploadUrl: url,
  onError: (error) => {
    console.error(String(error))
    process.exit(1)
  },
  onSuccess: () => console.log((performance.now() - began) / 1000),
}).start()
