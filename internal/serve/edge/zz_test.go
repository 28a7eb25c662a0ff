package edge
import ("testing";"os/exec";"net";"os")
func TestZZ(t *testing.T){
	r := start(t, setup{secure:true, files: map[string]string{"index.html":"<!doctype html><title>x</title>hello"}})
	h,p,_ := net.SplitHostPort(r.secure)
	cmd := exec.Command("go","tool","h2spec","-t","-k","-S","-h",h,"-p",p,"-P","/","-o","2","-j","/tmp/h2spec.xml")
	cmd.Dir="../../../tools"
	cmd.Stdout=os.Stdout; cmd.Stderr=os.Stderr
	t.Log(cmd.Run())
}
