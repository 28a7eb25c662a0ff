package h1

// Heads as real programs send them; the seeds of the fuzz tests and what the benchmarks read.
const (
	chromeHead = "GET /assets/app.4f2a9c.js?v=3 HTTP/1.1\r\n" +
		"Host: www.example.org\r\n" +
		"Connection: keep-alive\r\n" +
		"sec-ch-ua-platform: \"Linux\"\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n" +
		"sec-ch-ua-mobile: ?0\r\n" +
		"Accept: */*\r\n" +
		"Sec-Fetch-Site: same-origin\r\n" +
		"Sec-Fetch-Mode: no-cors\r\n" +
		"Sec-Fetch-Dest: script\r\n" +
		"Referer: https://www.example.org/\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
		"Cookie: theme=dark; _s=8c1f9f0e6b7a4a53b1d2\r\n" +
		"If-None-Match: \"5f1c3e\"\r\n\r\n"
	firefoxHead = "GET / HTTP/1.1\r\n" +
		"Host: example.org:8080\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"DNT: 1\r\n" +
		"Connection: keep-alive\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"Priority: u=0, i\r\n\r\n"
	curlHead      = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n\r\n"
	curlUpload    = "PUT /x HTTP/1.1\r\nHost: [::1]:8080\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nContent-Length: 1048576\r\nExpect: 100-continue\r\n\r\n"
	curlChunked   = "POST /x HTTP/1.1\r\nHost: a.test\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
	curlProxied   = "GET http://a.test/x?y=z HTTP/1.1\r\nHost: a.test\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nProxy-Connection: Keep-Alive\r\n\r\n"
	wrkHead       = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
	abHead        = "GET /index.html HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: 127.0.0.1:8080\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n"
	goHead        = "GET /robots.txt HTTP/1.1\r\nHost: a.test\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n"
	optionsHead   = "OPTIONS * HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
	webSocketHead = "GET /chat HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

var realHeads = []string{
	chromeHead, firefoxHead, curlHead, curlUpload, curlChunked, curlProxied, wrkHead, abHead, goHead, optionsHead, webSocketHead,
}
